"""Pools whose agents do not come to work: growing pauses, then the pool is paused; all is told.

What is counted stands in the registry, so that a row of failures goes on under a new coordinator.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from batchpilot.store.allocations import Pilot
from batchpilot.store.launches import (
    Failed,
    LaunchFailure,
    forget_failure,
    last_failure,
    note_failure,
)
from batchpilot_broker.journal import spoken
from batchpilot_broker.paths import RegistryPaths

from .desk import Desk
from .happenings import LaunchFailed


PAUSES = (5.0, 15.0, 60.0, 300.0)
IN_A_ROW = 3
SHOWN_LINES = 20

_log = logging.getLogger("batchpilot.coordinator")


class Troubles:
    """Note failures by pool, and tell when a pool may start agents again.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def may_start(self, pool: str, now: float) -> bool:
        """Tell whether a pool may ask for agents now.

        A pause that ends later than any pause lasts was begun by another clock, and is over.
        """
        last = self._last(pool)
        return not last.paused and not 0.0 < last.until - now <= PAUSES[-1]

    def over(self, pool: str) -> None:
        """Forget the troubles of a pool: one of its agents is at work."""
        self._forget(pool, Failed.START)

    def failed(self, pilot: Pilot, why: str, now: float) -> None:
        """Note an agent that ended without having worked; the third in a row pauses its pool.

        Args:
            pilot: The agent, as it was asked for.
            why: What is told after its own last words.
            now: Unix time.
        """
        output = self._desk.paths.element_output(pilot.allocation, pilot.number)
        where = str(output.relative_to(self._desk.paths.root)) if output.exists() else ""
        words = "\n".join(filter(None, (last_words(self._desk.paths, pilot), why)))
        last = self._last(pilot.pool)
        dead = last.failures - last.refusals + 1
        paused = dead >= IN_A_ROW
        self._note(last, replace(last, time=now, words=words, paused=paused, where=where))

    def refused(
        self, pool: str, words: str, now: float, *, for_good: bool, allocation: str = ""
    ) -> None:
        """Note that a batch system refused a request, or gave what is of no use."""
        last = self._last(pool)
        until = now + PAUSES[min(last.refusals, len(PAUSES) - 1)]
        where = f"allocations/{allocation}" if allocation else ""
        fresh = replace(last, time=now, words=words, paused=for_good, until=until, where=where)
        self._note(last, replace(fresh, refusals=last.refusals + 1))

    def unheard(
        self, pools: Iterable[str], what: Failed, words: str, times: int, now: float
    ) -> None:
        """Note that a batch system did not do what else it was asked for; nothing is paused."""
        _log.warning("%s in vain, %d times in a row: %s", what, times, words)
        fresh = LaunchFailure(pool="", time=now, failures=times, words=words, what=what)
        with self._desk.db.write() as tx:
            for pool in pools:
                note_failure(tx, replace(fresh, pool=pool))

    def heard(self, pools: Iterable[str], what: Failed) -> None:
        """Forget that it did not."""
        for pool in pools:
            self._forget(pool, what)

    def _forget(self, pool: str, what: Failed) -> None:
        with self._desk.db.read() as tx:
            noted = last_failure(tx, pool, what)
        if noted is not None:
            with self._desk.db.write() as tx:
                forget_failure(tx, pool, what)

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
