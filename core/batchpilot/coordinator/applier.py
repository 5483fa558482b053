"""Apply: move the registry's states by what agents report, exactly once.

Segments are the truth, events a hint: `segment.applied` moves in the same transaction as the
states. A report that begins where the last one ended is applied; an old one is dropped; after a
gap the segment itself is read. The tail of a lost agent's segment is read the same way.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Sequence

import msgpack
import numpy as np

from batchpilot.store.changing import (
    ROW_DTYPE,
    Applied,
    apply_rows,
    end_chunk,
    give_back,
    note_running,
)
from batchpilot.store.database import Transaction
from batchpilot.store.pages import ids_of, unpack_ranges
from batchpilot.store.replay import read_stretch, segment_of
from batchpilot_broker.events import Event
from batchpilot_broker.frames import ENDED, STARTED, Kind
from batchpilot_broker.nouns import Report
from batchpilot_broker.shapes import check_ranges

from .desk import NEVER_FITS, Desk
from .happenings import EventsApplied, JobsRequeued, Rejected
from .sizing import Sizer


ROWS_A_TRANSACTION = 10_000
PLANNED = frozenset(
    ("handed back", "drain", "stop", "walltime", "preempted", "orphaned", "refused")
)


class Applier:
    """Apply the events that were read.

    Args:
        desk: What the duties share.
        sizer: Learns the run times of chunks.

    Attributes:
        begun: Agents that have begun a chunk since this coordinator came; forgotten by the judge.
        ended: Those of them that have ended one.
    """

    def __init__(self, desk: Desk, sizer: Sizer) -> None:
        self._desk = desk
        self._sizer = sizer
        self.begun: set[str] = set()
        self.ended: set[str] = set()

    def tick(self, events: Sequence[tuple[str, Event]]) -> None:
        """Apply events in their order, in transactions of about 10,000 rows."""
        batch: list[tuple[str, Event]] = []
        rows = 0
        for entry in events:
            batch.append(entry)
            rows += len(entry[1].rows) // ROW_DTYPE.itemsize if isinstance(entry[1], Report) else 0
            if rows >= ROWS_A_TRANSACTION:
                self._apply(batch)
                batch, rows = [], 0
        if batch:
            self._apply(batch)

    def read_tails(self, names: Iterable[str] | None = None) -> None:
        """Apply what segments hold beyond what was applied: at the start, and of lost agents.

        Args:
            names: Names of segments, by default all that are known or lie in `segments/`.
        """
        if names is None:
            names = sorted(path.name for path in self._desk.paths.segments.glob("*.results"))
        for name in names:
            applied = Applied()
            with self._desk.db.write() as tx:
                self._read_on(tx, name, applied)
            self._tell(applied)

    def _apply(self, batch: Sequence[tuple[str, Event]]) -> None:
        applied = Applied()
        started = time.perf_counter()
        with self._desk.db.write() as tx:
            for _, event in batch:
                if isinstance(event, Report):
                    self._report(tx, event, applied)
            tx.set_meta("stream", batch[-1][0])
        self._desk.bus.tell(EventsApplied(len(batch), time.perf_counter() - started))
        self._tell(applied)

    def _tell(self, applied: Applied) -> None:
        self._desk.tell_ended(applied)
        if applied.requeued:
            self._desk.bus.tell(JobsRequeued("lost", applied.requeued))
        if applied.retried:
            self._desk.bus.tell(JobsRequeued("retry", applied.retried))
        if applied.ignored:
            self._desk.bus.tell(Rejected("late row", applied.ignored))
        for rivals in applied.rivals:
            if len(rivals):
                agents = set(self._desk.survey.agents)
                self._desk.cancel_at_agents(rivals, 0xFFFFFFFF, agents)

    def _report(self, tx: Transaction, report: Report, applied: Applied) -> None:
        number, done = segment_of(tx, report.segment, report.agent)
        if report.start == done:
            rows = np.frombuffer(report.rows, ROW_DTYPE)
            apply_rows(tx, number, rows, applied)
            self._notes(tx, report.agent, report.notes, applied)
            tx.execute("move_segment", report.end, number)
        elif report.end > done:
            self._read_on(tx, report.segment, applied)
        note_running(tx, report.agent, report.running)

    def _read_on(self, tx: Transaction, name: str, applied: Applied) -> None:
        agent = name.removesuffix(".results")
        number, done = segment_of(tx, name, agent)
        stretch = read_stretch(self._desk.paths.segments / name, done)
        if stretch.gaps:
            self._desk.bus.tell(Rejected(f"damaged bytes in {name}", len(stretch.gaps)))
        apply_rows(tx, number, stretch.rows, applied)
        if not name.startswith("coordinator-"):
            self._notes(tx, agent, stretch.notes, applied)
        tx.execute("move_segment", stretch.end, number)

    def _notes(
        self,
        tx: Transaction,
        agent: str,
        notes: Iterable[tuple[int, bytes]],
        applied: Applied,
    ) -> None:
        for kind, payload in notes:
            try:
                self._note(tx, agent, kind, payload, applied)
            except (struct.error, ArithmeticError, LookupError, TypeError, ValueError):
                self._desk.bus.tell(Rejected("malformed note"))

    def _note(
        self, tx: Transaction, agent: str, kind: int, payload: bytes, applied: Applied
    ) -> None:
        if kind == Kind.CHUNK_STARTED:
            chunk, started, _ = STARTED.unpack(payload)
            tx.execute("start_chunk", agent, started, chunk)
            self.begun.add(agent)
        elif kind == Kind.CHUNK_ENDED:
            self._chunk_ended(tx, *ENDED.unpack(payload))
            self.ended.add(agent)
        elif kind == Kind.HANDED_BACK:
            self._handed_back(tx, payload, applied)

    def _chunk_ended(self, tx: Transaction, chunk: int, seconds: float, jobs: int) -> None:
        row = tx.execute("read_chunk", chunk).fetchone()
        if row is None:
            return
        self._sizer.observe(row[0], seconds, jobs)
        left = end_chunk(tx, chunk)
        if len(left):
            self._desk.bus.tell(JobsRequeued("unaccounted", len(left)))

    def _handed_back(self, tx: Transaction, payload: bytes, applied: Applied) -> None:
        chunk, ranges, reason, _ = msgpack.unpackb(payload)
        row = tx.execute("read_chunk", chunk).fetchone()
        if row is None:
            return
        check_ranges(ranges)
        if sum(last - first + 1 for first, last in ranges) > len(unpack_ranges(row[3])):
            raise ValueError(ranges)
        ids = ids_of(np.array(ranges, np.int64))
        never = give_back(tx, ids, row[2], planned=reason in PLANNED)
        self._desk.expire(tx, never, NEVER_FITS, applied)
        self._desk.bus.tell(JobsRequeued(reason, len(ids) - len(never)))
