"""A registry's database, and jobs in it moved by hand through the states, step by step."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgpack
import numpy as np

from batchpilot.registry.base import make_files
from batchpilot.registry.defining import add_jobs
from batchpilot.resources import class_id
from batchpilot.store.changing import ROW_DTYPE, Applied, Rows, apply_rows
from batchpilot.store.database import Database
from batchpilot.store.pages import Column, Ids, State, pack_ranges, read_column, unpack_ranges
from batchpilot.store.replay import segment_of
from batchpilot_broker.frames import NO_PART
from batchpilot_broker.nouns import Outcome, ResourceClass


PLAIN = ResourceClass()
CLASS = class_id(PLAIN)
SEGMENT = "a1.results"


class Book:
    """A database with jobs, and the steps that coordinator and sessions take, one by one.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def define(self, jobs: int) -> None:
        """Define jobs 1..n."""
        with self.database.write() as tx:
            add_jobs(tx, [pickle.dumps((job,)) for job in range(1, jobs + 1)])

    def submit(self, ids: Sequence[int]) -> int:
        """Queue jobs under a new submission, without a span to feed them from."""
        with self.database.write() as tx:
            number = tx.execute(
                "add_submission", 0.0, CLASS, "e", msgpack.packb({}), 0, b""
            ).lastrowid
            tx.pages.put("submission", array(ids), int(number or 0))
            tx.pages.put("state", array(ids), State.QUEUED)
        return int(number or 0)

    def queue(self, ids: Sequence[int], needed: ResourceClass = PLAIN) -> int:
        """Queue jobs under a new submission, to be fed in this order."""
        name = class_id(needed)
        with self.database.write() as tx:
            tx.execute("add_class", name, msgpack.packb(needed.to_wire()))
            shown = msgpack.packb({"walltime": needed.walltime})
            number = int(
                tx.execute("add_submission", 0.0, name, "e", shown, needed.priority, b"").lastrowid
                or 0
            )
            tx.pages.put("submission", array(ids), number)
            tx.pages.put("state", array(ids), State.QUEUED)
            blob = array(ids).astype("<u4").tobytes()
            tx.execute("add_span", number, name, ids[0], len(ids), blob, None)
        return number

    def feed(self, ids: Sequence[int], *, agent: str = "") -> int:
        """Hand jobs out as one chunk, as the feeder does; return its number."""
        with self.database.write() as tx:
            attempt = int(tx.pages.take("attempt", array(ids)).max()) + 1
            submission = int(tx.pages.take("submission", array(ids))[0])
            tx.pages.put("attempt", array(ids), attempt)
            tx.pages.put("state", array(ids), State.FED)
            number = tx.execute(
                "add_chunk", CLASS, submission, attempt, pack_ranges(array(ids)), len(ids), 0.0
            ).lastrowid
            tx.execute("give_chunk", agent, number, agent)
        return int(number or 0)

    def apply(self, *rows: tuple[int, int, Outcome]) -> Applied:
        """Apply records (job, attempt, outcome) in one transaction."""
        applied = Applied()
        with self.database.write() as tx:
            number, _ = segment_of(tx, SEGMENT, "a1")
            apply_rows(tx, number, event_rows(*rows), applied)
        return applied

    def column(self, name: Column) -> list[int]:
        """Return a column of all jobs."""
        with self.database.read() as tx:
            values: list[int] = read_column(tx.db, name).tolist()
        return values

    def states(self) -> list[State]:
        """Return the states of all jobs."""
        return [State(value) for value in self.column("state")]

    def again(self) -> list[tuple[bool, list[int]]]:
        """Return what is to be fed again: whether each job alone, and which."""
        with self.database.read() as tx:
            rows = tx.db.execute("SELECT alone, ranges FROM again ORDER BY id").fetchall()
        return [(bool(alone), unpack_ranges(blob).tolist()) for alone, blob in rows]


def array(ids: Sequence[int]) -> Ids:
    return np.array(ids, np.int64)


def event_rows(*rows: tuple[int, int, Outcome]) -> Rows:
    """Return event rows as agents write them."""
    return np.array(
        [
            (at, job, attempt, outcome, 0, 0, 0, 1.0, 2.0, NO_PART, 0.0, 60)
            for at, (job, attempt, outcome) in enumerate(rows)
        ],
        ROW_DTYPE,
    )


@contextmanager
def open_book(root: Path) -> Iterator[Book]:
    """Give an empty registry's book."""
    database = Database(make_files(root, seed=1, kind="map", work_dir=root.parent))
    try:
        yield Book(database)
    finally:
        database.close()
