"""Audit: every 30 s, feed again what was fed but is neither queued nor leased.

That is what a stranger's `rq empty` or FLUSHALL leaves, or a crash between the commit of a chunk
and its enqueueing. After the broker has lost its data all queued chunks are fed again a second
later; leased ones when their agents have had the time to announce them. A chunk that is nowhere may just
have ended: what the agents' segments say of it is read before it is given up.
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

    def audit(self, now: float, *, youngest: float = YOUNGEST) -> int:
        """Queue again the jobs of chunks that are nowhere."""
        with self._desk.db.read() as tx:
            rows = [row for row in tx.all("all_chunks") if now - row[6] >= youngest]
        if not rows:
            return 0
        here = set(self._desk.broker.leases())
        for class_id in {row[1] for row in rows}:
            here.update(self._desk.broker.queued(class_id))
        announcing = now < self._wait_for_hellos
        lost = [row[0] for row in rows if row[0] not in here and not (row[5] and announcing)]
        if not lost:
            return 0
        self._applier.read_tails()
        with self._desk.db.write() as tx:
            jobs = sum(len(end_chunk(tx, chunk)) for chunk in lost)
        if jobs:
            self._desk.bus.tell(JobsRequeued("audit", jobs))
        return jobs
