"""Feed: cut chunks just in time, class by class, and hand them to the broker.

Each class gets its own small transaction, committed before the broker is told: what a crash
leaves between the two is found by the audit. Jobs that were handed out before and came back go to
the head of the queue, and go there even when it is full: they do not wait behind 12 h of work.
A chunk that the user made is fed whole, whatever its jobs take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgpack
import numpy as np

from batchpilot.errors import BrokerFull
from batchpilot.store.changing import end_chunk
from batchpilot.store.database import Transaction
from batchpilot.store.pages import (
    Ids,
    State,
    pack_ranges,
    ranges_of,
    span_ids,
    unpack_ranges,
)
from batchpilot.store.params import ParsReader
from batchpilot_broker.frames import Kind
from batchpilot_broker.nouns import Chunk, Isolation, ResourceClass

from .desk import Desk
from .happenings import ChunksFed
from .limiter import Limiter
from .sizing import LONG_JOB, Sizer


AHEAD_SECONDS = 12 * 3600.0
AHEAD_JOBS = 100_000
AHEAD_BYTES = 64 << 20
LEAST_BYTES = 1 << 18
PAUSE_WHEN_FULL = 1.0
TICKS_AHEAD = 8
"""A tick feeds at most this part of what may lie ahead: one large script would block the broker."""

CHUNKS_A_TICK = 16
JOBS_A_TICK = 16_384


@dataclass(frozen=True, slots=True)
class _Submission:
    """Hold what chunks need to know of their submission."""

    epoch: str
    shown: Mapping[str, object]
    whole: bool


class Feeder:
    """Keep every class's queue filled.

    Args:
        desk: What the duties share.
        sizer: Cuts chunks to size.
        clock: Gives the Unix time.
    """

    def __init__(self, desk: Desk, sizer: Sizer, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._sizer = sizer
        self._clock = clock
        self._pars = ParsReader()
        self._classes: dict[str, ResourceClass] = {}
        self._submissions: dict[int, _Submission] = {}
        self._bytes_a_job: dict[str, float] = {}
        self._limiter = Limiter(desk)
        self._allowed = 0.0
        self._bytes_ahead = AHEAD_BYTES
        self._resume = 0.0
        self.hungry = False
        self.outstanding = 0.0

    def forget_broker(self) -> None:
        """Announce all classes anew: the broker has lost its data."""
        self._classes.clear()

    def tick(self, now: float) -> int:
        """Feed what there is room for; return the number of jobs fed."""
        with self._desk.db.read() as tx:
            waiting = [row[0] for row in tx.all("classes_with_work")]
            queued = {name: (chunks, jobs) for name, chunks, jobs in tx.all("queued_by_class")}
            back = {name: bool(alone) for name, alone in tx.all("again_by_class")}
        self.hungry = False
        self.outstanding = sum(
            jobs * (self._sizer.expected(name) or 0.0) for name, (_, jobs) in queued.items()
        )
        self._allowed = self._limiter.room()
        if not waiting or not self._allowed or now < self._resume:
            return 0
        depths = self._desk.broker.depths(waiting)
        fed = 0
        for name in waiting:
            room = self._room(name, depths[name], queued.get(name, (0, 0))[1])
            known = self._sizer.expected(name) is not None
            if room > 0 or (name in back and (known or back[name])):
                fed += self._feed(name, room, now)
        return fed

    def _feed(self, class_id: str, room: int, now: float) -> int:
        self._announce(class_id)
        with self._desk.db.write() as tx:
            chunks, again = self._cut(tx, class_id, room, now)
        self._allowed -= len(chunks)
        self.hungry = self.hungry and self._allowed > 0
        if not chunks:
            return 0
        try:
            size = self._desk.broker.feed(chunks, again=again)
        except BrokerFull:
            self._feed_less(chunks, now)
            raise
        jobs = sum(chunk.size for chunk in chunks)
        self._bytes_a_job[class_id] = size / jobs
        self._desk.bus.tell(ChunksFed(class_id, len(chunks), jobs))
        return jobs

    def _feed_less(self, chunks: list[Chunk], now: float) -> None:
        """Queue again what a full broker refused, and keep half as much there from now on."""
        self._resume = now + PAUSE_WHEN_FULL
        self._bytes_ahead = max(self._bytes_ahead // 2, LEAST_BYTES)
        with self._desk.db.write() as tx:
            for chunk in chunks:
                end_chunk(tx, chunk.id)

    def _room(self, class_id: str, depth: int, queued_jobs: int) -> int:
        """Return how many chunks may be fed now."""
        slots = self._desk.slots()
        expected = self._sizer.expected(class_id)
        if expected is None:
            return 2 * slots - depth - self._leased(class_id)
        ahead = min(
            AHEAD_JOBS,
            AHEAD_SECONDS * slots / expected,
            self._bytes_ahead / self._bytes_a_job.get(class_id, 64.0),
        )
        urgent = 4 * slots - depth
        if self._sizer.is_learning(class_id, slots):
            return urgent
        if queued_jobs >= max(ahead, slots) and urgent <= 0:
            return 0
        self.hungry = True
        return max(urgent, CHUNKS_A_TICK)

    def _leased(self, class_id: str) -> int:
        with self._desk.db.read() as tx:
            return sum(1 for row in tx.all("all_chunks") if row[1] == class_id and row[5])

    def _announce(self, class_id: str) -> None:
        if class_id in self._classes:
            return
        with self._desk.db.read() as tx:
            known = {name: msgpack.unpackb(wire) for name, wire in tx.all("all_classes")}
        resources = ResourceClass.from_wire(known[class_id])
        self._desk.broker.announce(class_id, resources)
        self._classes[class_id] = resources

    def _cut(
        self, tx: Transaction, class_id: str, room: int, now: float
    ) -> tuple[list[Chunk], int]:
        """Return chunks, and how many of them, from the first, hold jobs fed again."""
        slots = self._desk.slots()
        remaining = int(tx.execute("span_left", class_id).fetchone()[0])
        chunks: list[Chunk] = []
        jobs = again = size = 0
        enough = self._bytes_ahead // TICKS_AHEAD
        while jobs < JOBS_A_TICK and size < enough and len(chunks) < self._allowed:
            full = len(chunks) >= room
            taken = self._take_again(tx, class_id, remaining, full=full)
            came_back = taken is not None
            if taken is None and not full:
                taken = self._take(tx, class_id, self._sizer.size(class_id, remaining, slots))
            if taken is None:
                self.hungry = self.hungry and full
                break
            submission, ids = taken
            if len(ids):
                chunks.append(self._make(tx, class_id, submission, ids, slots, now))
                jobs += len(ids)
                size += len(chunks[-1].pars)
                again += came_back
            remaining -= 0 if came_back else len(ids)
        return chunks, again

    def _take_again(
        self, tx: Transaction, class_id: str, remaining: int, *, full: bool
    ) -> tuple[int, Ids] | None:
        """Take the next jobs that came back.

        Into a full queue go those that were running, or whose run time is known.
        """
        row = tx.execute("next_again", class_id).fetchone()
        if row is None:
            return None
        number, submission, alone, blob = row
        if full and not alone and self._sizer.expected(class_id) is None:
            return None
        ids = unpack_ranges(blob)
        left = remaining + len(ids)
        size = 1 if alone else self._sizer.size(class_id, left, self._desk.slots())
        if self._submission(tx, submission).whole and not alone:
            size = len(ids)
        if len(ids) > size:
            tx.execute("shorten_again", pack_ranges(ids[size:]), number)
        else:
            tx.execute("drop_again", number)
        return submission, self._still_queued(tx, ids[:size], submission)

    def _take(self, tx: Transaction, class_id: str, size: int) -> tuple[int, Ids] | None:
        """Take the next jobs of a class from its spans."""
        span = tx.execute("next_span", class_id).fetchone()
        if span is None:
            return None
        number, submission, first, total, blob, cuts, done = span
        stop = min(done + size, total)
        if cuts is not None:
            ends = np.frombuffer(cuts, "<u4")
            stop = int(ends[np.searchsorted(ends, done, "right")])
        if stop == total:
            tx.execute("drop_span", number)
        else:
            tx.execute("move_span", stop, number)
        ids = span_ids(first, total, blob, done, stop)
        return submission, self._still_queued(tx, ids, submission)

    @staticmethod
    def _still_queued(tx: Transaction, ids: Ids, submission: int) -> Ids:
        """Return those that were not killed or resubmitted since."""
        states = tx.pages.take("state", ids)
        mine = tx.pages.take("submission", ids) == submission
        queued: Ids = ids[(states == State.QUEUED) & mine]
        return queued

    def _make(  # noqa: PLR0913, PLR0917 - the facts of one chunk
        self, tx: Transaction, class_id: str, submission: int, ids: Ids, slots: int, now: float
    ) -> Chunk:
        attempt = int(tx.pages.take("attempt", ids).max()) + 1
        tx.pages.put("attempt", ids, attempt)
        tx.pages.put("state", ids, State.FED)
        number = tx.execute(
            "add_chunk", class_id, submission, attempt, pack_ranges(ids), len(ids), now
        ).lastrowid
        ranges = ranges_of(ids).tolist()
        self._desk.write_note(Kind.FED, [number, ranges, attempt])
        known = self._submission(tx, submission)
        offsets, pars = self._pars.slice(tx, ids)
        resources = self._classes[class_id]
        return Chunk(
            id=int(number or 0),
            class_id=class_id,
            epoch=known.epoch,
            attempt=attempt,
            ranges=tuple((first, last) for first, last in ranges),
            offsets=offsets,
            pars=pars,
            budget=self._sizer.budget(class_id, len(ids), slots),
            isolation=self._isolation(class_id, resources),
            resources=resources,
            seed=self._desk.seed,
            shown=known.shown,
            whole=known.whole,
        )

    def _isolation(self, class_id: str, resources: ResourceClass) -> Isolation:
        if resources.isolation is not Isolation.AUTO:
            return resources.isolation
        expected = self._sizer.expected(class_id)
        long = expected is not None and expected >= LONG_JOB
        return Isolation.PROCESS if long else Isolation.SLOT

    def _submission(self, tx: Transaction, number: int) -> _Submission:
        known = self._submissions.get(number)
        if known is None:
            _, _, epoch, shown, _, _, whole = tx.execute("read_submission", number).fetchone()
            known = _Submission(epoch, msgpack.unpackb(shown), bool(whole))
            self._submissions[number] = known
        return known
