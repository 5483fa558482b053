"""Pools whose agents do not come to work: growing pauses, then the pool is paused; all is told.

What is counted stands in the registry, so that a row of failures goes on under a new coordinator.
"""

from __future__ import annotations

from dataclasses import replace

import msgpack

from batchpilot.store.allocations import Pilot
from batchpilot.store.launches import LaunchFailure, forget_failure, last_failure, note_failure
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

    def may_start(self, pool: str, now: float) -> bool:
        """Tell whether a pool may ask for agents now."""
        last = self._last(pool)
        return not last.paused and now >= last.until

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
        with self._desk.db.write() as tx:
            forget_failure(tx, pool)

    def failed(self, pilot: Pilot, reason: str, now: float) -> None:
        """Note an agent that ended without having worked; the third in a row pauses its pool."""
        words = last_words(self._desk.paths, pilot) or reason
        last = self._last(pilot.pool)
        dead = last.failures - last.refusals + 1
        self._note(last, replace(last, time=now, words=words, paused=dead >= IN_A_ROW))

    def refused(self, pool: str, words: str, now: float, *, for_good: bool) -> None:
        """Note that a batch system refused a request."""
        last = self._last(pool)
        until = now + PAUSES[min(last.refusals, len(PAUSES) - 1)]
        fresh = replace(last, time=now, words=words, paused=for_good, until=until)
        self._note(last, replace(fresh, refusals=last.refusals + 1))

    def _last(self, pool: str) -> LaunchFailure:
        """Return the last failure of the row, an empty one where there is none."""
        with self._desk.db.read() as tx:
            last = last_failure(tx, pool)
        return last or LaunchFailure(pool=pool, time=0.0, failures=0, words="")

    def _note(self, last: LaunchFailure, fresh: LaunchFailure) -> None:
        """Keep one more in the row; a pool that is paused keeps why it is."""
        if not last.paused:
            with self._desk.db.write() as tx:
                note_failure(tx, replace(fresh, failures=last.failures + 1))
        self._desk.bus.tell(LaunchFailed(fresh.pool, fresh.words))


def last_words(paths: RegistryPaths, pilot: Pilot) -> str:
    """Return the last lines that the agent of an element wrote."""
    output = paths.element_output(pilot.allocation, pilot.number)
    try:
        lines = output.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(map(spoken, lines[-SHOWN_LINES:]))
