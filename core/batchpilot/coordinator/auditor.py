"""Audit: every 30 s, feed again what was fed but is neither queued nor leased.

That is what a stranger's `rq empty` or FLUSHALL leaves, or a crash between the commit of a chunk
and its enqueueing. After the broker has lost its data all queued chunks are fed again a second
later; leased ones when their agents have had the time to announce them. A chunk that is nowhere may
just have ended: what the agents' segments say of it is read before it is given up.
"""

from __future__ import annotations

from batchpilot.store.changing import end_chunk

from .applier import Applier
from .desk import Desk
from .happenings import JobsRequeued


EVERY = 30.0
YOUNGEST = 5.0
ANNOUNCEMENT = 12.0
REOPENING = 1.0


class Auditor:
    """Compare the registry's chunks with the broker's.

    Args:
        desk: What the duties share.
        applier: Reads the segments.
    """

    def __init__(self, desk: Desk, applier: Applier) -> None:
        self._desk = desk
        self._applier = applier
        self._next = 0.0
        self._wait_for_hellos = 0.0
        self._missing: dict[str, set[int]] = {}
        self._doubted: set[int] = set()

    def tick(self, now: float) -> int:
        """Audit when it is time; return the number of jobs to be fed again."""
        if now < self._next:
            return 0
        announcing = now < self._wait_for_hellos
        self._next = self._wait_for_hellos if announcing else now + EVERY
        return self.audit(now, youngest=0.0 if announcing else YOUNGEST)

    def after_loss(self, now: float) -> None:
        """Audit soon, and again when all agents have had the time to announce what they hold."""
        self._wait_for_hellos = now + ANNOUNCEMENT
        self._next = now + REOPENING

    def hello(self, agent: str, held: list[int]) -> None:
        """Doubt the chunks that an agent was leased and does not hold: their claim was lost.

        The broker is asked: nobody may have looked at its leases since then. The agent may have
        claimed them since it said so, and is asked again. What it still does not hold then, and
        has not begun by the next audit, is fed again.
        """
        leased = {chunk for chunk, holder in self._desk.broker.leases().items() if holder == agent}
        with self._desk.db.read() as tx:
            begun = {row[0] for row in tx.all("chunks_of_agent", agent) if row[5] is not None}
        missing = leased - begun - set(held)
        before = self._missing.pop(agent, None)
        if before is not None:
            self._doubted |= missing & before
        elif missing:
            self._missing[agent] = missing
            self._desk.broker.control(agent, "announce")

    def audit(self, now: float, *, youngest: float = YOUNGEST) -> int:
        """Queue again the jobs of chunks that are nowhere."""
        with self._desk.db.read() as tx:
            rows = [row for row in tx.all("all_chunks") if not _is_younger(row[6], youngest, now)]
        if not rows:
            return 0
        here: set[int] = set()
        for class_id in {row[1] for row in rows}:
            here.update(self._desk.broker.queued(class_id))
        here.update(self._desk.broker.leases())  # last, as chunks go from queue to lease
        announcing = now < self._wait_for_hellos
        lost = [row[0] for row in rows if row[0] not in here and not (row[5] and announcing)]
        lost += self._lost_claims(here)
        if not lost:
            return 0
        self._applier.read_tails()
        with self._desk.db.write() as tx:
            jobs = sum(len(end_chunk(tx, chunk)) for chunk in lost)
        if jobs:
            self._desk.bus.tell(JobsRequeued("audit", jobs))
        return jobs

    def _lost_claims(self, here: set[int]) -> list[int]:
        """Release the doubted chunks that have still not begun."""
        lost = []
        with self._desk.db.read() as tx:
            for chunk in self._doubted & here:
                row = tx.execute("read_chunk", chunk).fetchone()
                if row is not None and row[5] is None:
                    lost.append(chunk)
        self._doubted.clear()
        for chunk in lost:
            self._desk.broker.release(chunk)
        return lost


def _is_younger(fed: float, seconds: float, now: float) -> bool:
    """Tell whether a chunk was fed less than some seconds ago.

    One that bears a time to come was fed by an earlier coordinator, before the machine's clock was
    set back.
    """
    return 0.0 <= now - fed < seconds
