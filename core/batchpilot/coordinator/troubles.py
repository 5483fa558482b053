"""Pools whose agents do not come to work: growing pauses, then the pool is paused; all is told."""

from __future__ import annotations

import msgpack

from batchpilot.store.allocations import Pilot
from batchpilot.store.launches import LaunchFailure, forget_failure, note_failure, paused_pools
from batchpilot_broker.journal import spoken
from batchpilot_broker.nouns import AgentInfo
from batchpilot_broker.paths import RegistryPaths

from .desk import Desk
from .happenings import LaunchFailed
from .judge import misfit


PAUSES = (5.0, 15.0, 60.0, 300.0)
IN_A_ROW = 3
YOUNG = 60.0
SHOWN_LINES = 20


class Troubles:
    """Note failures by pool, and tell when a pool may start agents again.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._dead: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def may_start(self, pool: str, now: float) -> bool:
        """Tell whether a pool may ask for agents now."""
        if self.resting(pool, now):
            return False
        with self._desk.db.read() as tx:
            return pool not in paused_pools(tx)

    def resting(self, pool: str, now: float) -> bool:
        """Tell whether the batch system of a pool is left alone for a while, after a refusal."""
        return now < self._until.get(pool, 0.0)

    def worked(self, agent: str) -> bool | None:
        """Tell whether an agent came to work for a minute or left in order; None if it never came.

        One that is refused, or dies within a minute, has not.
        """
        if not agent:
            return None
        with self._desk.db.read() as tx:
            row = tx.execute("agent_life", agent).fetchone()
        if row is None:
            return None
        started, ended, state, info = row
        if misfit(AgentInfo.from_wire(msgpack.unpackb(info))):
            return False
        return bool(state != "lost" or ended is None or ended - started >= YOUNG)

    def over(self, pool: str) -> None:
        """Forget the troubles of a pool: one of its agents is at work."""
        self._until.pop(pool, None)
        self._dead.pop(pool, None)
        self._refusals.pop(pool, None)
        with self._desk.db.write() as tx:
            forget_failure(tx, pool)

    def failed(self, pilot: Pilot, reason: str, now: float) -> None:
        """Note an agent that ended without having worked; the third in a row pauses its pool."""
        dead = self._dead[pilot.pool] = self._dead.get(pilot.pool, 0) + 1
        words = last_words(self._desk.paths, pilot) or reason
        paused = dead >= IN_A_ROW
        if paused:
            self._dead.pop(pilot.pool)
        self._note(pilot.pool, words, now, failures=dead, paused=paused)

    def refused(self, pool: str, words: str, now: float, *, for_good: bool) -> None:
        """Note that a batch system refused a request."""
        count = self._refusals.get(pool, 0)
        self._until[pool] = now + PAUSES[min(count, len(PAUSES) - 1)]
        self._refusals[pool] = 0 if for_good else count + 1
        self._note(pool, words, now, failures=count + 1, paused=for_good)

    def _note(self, pool: str, words: str, now: float, *, failures: int, paused: bool) -> None:
        failure = LaunchFailure(pool=pool, time=now, failures=failures, words=words, paused=paused)
        with self._desk.db.write() as tx:
            if pool not in paused_pools(tx):
                note_failure(tx, failure)
        self._desk.bus.tell(LaunchFailed(pool, words))


def last_words(paths: RegistryPaths, pilot: Pilot) -> str:
    """Return the last lines that the agent of an element wrote."""
    output = paths.element_output(pilot.allocation, pilot.number)
    try:
        lines = output.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(map(spoken, lines[-SHOWN_LINES:]))
