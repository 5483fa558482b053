"""Let agents go, and let them come again."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterable, Sequence

from batchpilot.asking import by_owner
from batchpilot.errors import CoordinatorFailed, NoSuchAgent
from batchpilot.store.agents import ShownAgent, live_agents
from batchpilot.store.allocations import Pilot, pilots_alive
from batchpilot.store.database import Transaction
from batchpilot.store.dismissals import dismiss
from batchpilot.store.launches import resume_pools
from batchpilot.store.owner import read_owner
from batchpilot_broker.host import host_name, process_start

from .submitting import Submitting


_log = logging.getLogger("batchpilot.registry")


class Staffing(Submitting):
    """Stop and resume agents."""

    def stop_agents(self, ids: Iterable[str] | None = None) -> list[str]:
        """Let agents finish what runs, hand back the rest and leave.

        Those on the owner's host are told at once, others by the coordinator, and those that wait
        in the queue of a batch system are cancelled. Where there is work, others come for them.

        Args:
            ids: Names of agents, or what their batch system calls them, as `batchpilot agents list`
                shows both. By default all, and none comes again until `resume_agents()`.

        Returns:
            The names of those that leave.

        Raises:
            NoSuchAgent: One is not there; then nobody is told.
            CoordinatorFailed: No coordinator is there that could tell all of them.

        Example:
            >>> reg.stop_agents(["slurm-3f2a9c1b-2-77e0", "4711_3"])
        """
        told, left = self._stop_agents(None if ids is None else list(ids))
        if left and not self._coordinator_at_work():
            raise CoordinatorFailed(
                f"{len(told)} agents were told to leave; {', '.join(left)} will be as soon as a "
                "coordinator runs, and now none does",
                remedy=f"batchpilot broker start {self.paths.root}",
            )
        self._nudge()
        return [*told, *left]

    def resume_agents(self) -> None:
        """Let agents come again, also those of pools that were paused for their failures."""
        self._resume_agents()
        self._ensure_coordinator()
        self._nudge()

    @by_owner
    def _stop_agents(self, ids: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """Return the agents that were told, and those that a coordinator has to tell."""
        with self._changing() as tx:
            agents, waiting = _chosen(tx, ids)
            here = [agent for agent in agents if agent.host == host_name()]
            left = [agent.id for agent in agents if agent not in here]
            left += [pilot.id for pilot in waiting]
            if ids is None:
                tx.set_meta("agents_stopped", 1)
            dismiss(tx, left)
        return [agent.id for agent in here if _tell(agent.pid)], left

    @by_owner
    def _resume_agents(self) -> None:
        with self._changing() as tx:
            tx.set_meta("agents_stopped", 0)
            resume_pools(tx)

    def _coordinator_at_work(self) -> bool:
        owner = read_owner(self.paths)
        return owner.coordinator_alive or owner.beats_elsewhere(time.time())


def _chosen(tx: Transaction, ids: Sequence[str] | None) -> tuple[list[ShownAgent], list[Pilot]]:
    """Return the agents that are meant, and those of them that have not come yet.

    Raises:
        NoSuchAgent: One is not there.
    """
    agents = [a for a in live_agents(tx) if a.host != host_name() or process_start(a.pid)]
    waiting = [pilot for pilot in pilots_alive(tx) if pilot.id and not pilot.agent]
    if ids is None:
        return agents, waiting
    wanted = set(ids)
    known = {name for a in agents for name in (a.id, a.scheduler_id)} | {p.id for p in waiting}
    unknown = sorted(wanted - (known - {""}))  # "" is what those have that no batch system knows
    if unknown:
        raise NoSuchAgent(
            f"there is no agent {', '.join(name or repr(name) for name in unknown)}",
            remedy="see `batchpilot agents list`",
        )
    return (
        [agent for agent in agents if wanted & {agent.id, agent.scheduler_id}],
        [pilot for pilot in waiting if pilot.id in wanted],
    )


def _tell(pid: int) -> bool:
    """Tell an agent on this host to leave; return whether it was still there."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        _log.debug("process %d is gone already", pid)
        return False
    return True
