"""Release: let go the jobs whose predecessors are done, expire those whose predecessors are not.

A predecessor that has failed for good shuts the gate: the jobs behind it get an attempt that was
never handed out, and a record of its end, so that they are expired like any others, for `repair`
too. Nothing is kept in memory; a look costs nothing while nobody has written to the registry.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from batchpilot.store.changing import Applied
from batchpilot.store.database import Transaction
from batchpilot.store.gates import doomed, moved, settle
from batchpilot.store.pages import Ids, ranges_of
from batchpilot_broker.frames import Kind
from batchpilot_broker.nouns import Reason

from .desk import Desk, Verdict


SHORTEST_PAUSE = 0.05
REST = 10
"""A look is followed by a pause so many times as long as it took."""
EXPIRED_AT_ONCE = 10_000
NO_CHUNK = 0


class Releaser:
    """Open and shut the gates.

    Args:
        desk: What the duties share.
        stopwatch: Gives seconds, to tell how long a look takes.
    """

    def __init__(self, desk: Desk, stopwatch: Callable[[], float] = time.perf_counter) -> None:
        self._desk = desk
        self._stopwatch = stopwatch
        self._seen = (-1, -1)
        self._next = 0.0

    def tick(self, now: float) -> int:
        """Look at the gates, where something has changed; return how many have moved."""
        if now < self._next:
            return 0
        seen = self._changes()
        if seen == self._seen:
            return 0
        self._seen = seen
        began = self._stopwatch()
        gates = self._look()
        self._next = now + max(SHORTEST_PAUSE, REST * (self._stopwatch() - began))
        return gates

    def _look(self) -> int:
        """Settle and expire until nothing moves: one failure can run down a whole chain."""
        gates = expired = 0
        while expired < EXPIRED_AT_ONCE:
            settled, ended = self._settle(), self._expire()
            if not settled and not ended:
                break
            gates, expired = gates + settled, expired + ended
        return gates

    def _changes(self) -> tuple[int, int]:
        """Return what is another pair when anybody has written to the registry."""
        with self._desk.db.read() as tx:
            return self._desk.db.data_version(), tx.db.total_changes

    def _settle(self) -> int:
        with self._desk.db.read() as tx:
            gates = len(moved(tx))
        if gates:
            with self._desk.db.write() as tx:
                settle(tx)
        return gates

    def _expire(self) -> int:
        """Expire the next jobs behind a gate that is shut; return how many."""
        with self._desk.db.read() as tx:
            if not tx.execute("next_failed").fetchone():
                return 0
        applied = Applied()
        with self._desk.db.write() as tx:
            found = doomed(tx, EXPIRED_AT_ONCE)
            if found is not None and len(found.ids):
                self._mark(tx, found.ids)
                verdict = Verdict(Reason.PREDECESSOR, f"predecessor {found.failed} failed")
                self._desk.expire(tx, found.ids, verdict, applied, began=False)
        self._desk.tell_ended(applied)
        return sum(map(len, applied.ended))

    def _mark(self, tx: Transaction, ids: Ids) -> None:
        """Give jobs an attempt of which they can be expired."""
        attempt = int(tx.pages.take("attempt", ids).max()) + 1
        tx.pages.put("attempt", ids, attempt)
        self._desk.write_note(Kind.FED, [NO_CHUNK, ranges_of(ids).tolist(), attempt])
