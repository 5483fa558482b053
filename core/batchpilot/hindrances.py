"""What stands in the way of jobs of a class, as the registry has it: pools, agents, coordinator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgpack

from batchpilot_broker.host import host_name, process_start
from batchpilot_broker.nouns import ResourceClass

from .durations import duration
from .errors import NoSuchPool
from .pools import Interactive, Local, Pool, from_records
from .reasons import Cause, Reason
from .registry.base import RegistryBase
from .resources import check_servable
from .seat import standing
from .store.agents import ShownAgent, live_agents
from .store.launches import LaunchFailure, failing, launch_failures
from .store.owner import Owner, read_owner


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Hold who could run the jobs of a class."""

    needed: ResourceClass
    pools: Sequence[Pool]
    agents: Sequence[ShownAgent]
    stopped: bool
    failures: Sequence[LaunchFailure]
    limit: int | None

    @classmethod
    def of(cls, registry: RegistryBase, class_id: str, now: float) -> _Scene:
        with registry.database.read() as tx:
            row = tx.execute("read_class", class_id).fetchone()
            stored = tx.meta("pools")
            return cls(
                needed=ResourceClass.from_wire(msgpack.unpackb(row[0])),
                pools=from_records(json.loads(stored)) if stored else [Local()],
                agents=[agent for agent in live_agents(tx) if _lives(agent)],
                stopped=bool(tx.meta("agents_stopped", 0)),
                failures=launch_failures(tx, now),
                limit=json.loads(tx.meta("max_concurrent_jobs") or "null"),
            )


def hindrances(
    registry: RegistryBase,
    class_id: str,
    now: float | None = None,
    *,
    running_at: str = "",
    waiting: bool = False,
) -> Iterator[Reason]:
    """Yield what keeps jobs of a class from running on.

    Args:
        registry: The registry.
        class_id: Their resource class.
        now: Unix time.
        running_at: Agent at which the job in question runs: only what ends that is told.
        waiting: Whether it waits for other jobs, and needs nobody but the coordinator.
    """
    now = time.time() if now is None else now
    scene = _Scene.of(registry, class_id, now)
    if any(isinstance(pool, Interactive) for pool in scene.pools):
        yield _in_session()
        return
    yield from _no_coordinator(registry, now)
    if waiting:
        return
    if running_at:
        yield from _agent_gone(scene, running_at)
        return
    if scene.limit is not None:
        yield Reason(
            cause=Cause.LIMIT,
            text=f"at most {scene.limit} jobs of the registry run at once (max_concurrent_jobs)",
        )
    fitting, misfit = _fitting(scene)
    if misfit is not None:
        yield misfit
    elif scene.stopped:
        yield Reason(
            cause=Cause.AGENTS_STOPPED,
            text="agents were stopped, and none comes again by itself",
            remedy=f"batchpilot agents resume {registry.file_dir}",
        )
    else:
        yield from _agents(registry, scene, fitting, now)


def _in_session() -> Reason:
    return Reason(
        cause=Cause.IN_SESSION,
        text="jobs of pool Interactive run in the session that submits them, one after another",
        remedy="if that session is gone, kill the job and submit it again",
    )


def _no_coordinator(registry: RegistryBase, now: float) -> Iterator[Reason]:
    why, seat = silence_of(read_owner(registry.paths), now), standing(registry.paths)
    if why and seat is not None:
        why = f"the coordinator {seat.text}"
    if why:
        yield Reason(
            cause=Cause.NO_COORDINATOR, text=why, remedy=f"batchpilot wait {registry.file_dir}"
        )


def silence_of(owner: Owner, now: float) -> str:
    """Return what shows that no coordinator is at work, "" where one is."""
    if owner.coordinator_alive or owner.beats_elsewhere(now):
        return ""
    beat = f"; its last beat was {duration(now - owner.heartbeat)} ago" if owner.heartbeat else ""
    if owner.here:
        return f"the coordinator is not running{beat}"
    return f"the coordinator on {owner.host} is not heard of{beat}"


def _lives(agent: ShownAgent) -> bool:
    return agent.host != host_name() or process_start(agent.pid) != 0


def _agent_gone(scene: _Scene, agent: str) -> Iterator[Reason]:
    if agent not in {known.id for known in scene.agents}:
        yield Reason(
            cause=Cause.AGENT_GONE,
            text=f"agent {agent} is gone; a coordinator gives the job to another one",
        )


def _fitting(scene: _Scene) -> tuple[set[str], Reason | None]:
    """Return the pools that can run the jobs; a reason where there is none."""
    fitting = set()
    for pool in scene.pools:
        try:
            check_servable(scene.needed, [pool])
        except NoSuchPool:
            continue
        fitting.add(pool.name)
    try:
        check_servable(scene.needed, scene.pools)
    except NoSuchPool as error:
        return fitting, Reason(cause=Cause.NO_POOL, text=error.message, remedy=error.remedy)
    return fitting, None


def _agents(
    registry: RegistryBase, scene: _Scene, fitting: set[str], now: float
) -> Iterator[Reason]:
    for failure in scene.failures:
        if failure.pool in fitting:
            yield Reason(
                cause=Cause.LAUNCH_FAILED,
                text=failing(failure, now),
                remedy=f"mend that; what they wrote is in {registry.paths.logs}",
            )
    there = [agent for agent in scene.agents if agent.pool in fitting]
    slots, busy = (sum(getattr(a, name) for a in there) for name in ("slots", "busy"))
    if not there and not scene.failures:
        yield Reason(cause=Cause.NO_AGENT, text="no agent that can run it is there yet")
    elif there:
        agents = "1 agent" if len(there) == 1 else f"{len(there)} agents"
        yield Reason(
            cause=Cause.AGENTS_BUSY, text=f"{busy} of {slots} slots at {agents} for it are busy"
        )
