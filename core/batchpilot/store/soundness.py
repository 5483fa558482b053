"""Whether what a database says makes sense: SQLite keeps no checksums of what stands in it.

What it says of itself is there, its pages do not contradict each other, and the ends of jobs are
what the segments have at those places.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchpilot_broker.frames import HEADER
from batchpilot_broker.nouns import Outcome

from .changing import ROW_DTYPE, Rows
from .database import Transaction
from .outcomes import locate, segment_names
from .pages import COLUMNS, ENDED_STATES, LIVE_STATES, Column, State, column_size, read_column
from .replay import read_stretch
from .statements import schema, sql


_STATES = {Outcome.DONE: State.DONE, Outcome.ERROR: State.ERROR}


_NEEDED = {"last_job": int, "seed": int, "kind": str, "work_dir": str}
_SHOWN = 3
_SIZE = ROW_DTYPE.itemsize
_POS = ROW_DTYPE["pos"].itemsize


def contradictions(tx: Transaction, segments: Path) -> list[str]:
    """Return what cannot be as the database has it, in words; nothing where all makes sense.

    Args:
        tx: The database.
        segments: Directory of the segments that it speaks of.
    """
    torn = list(_torn(tx))
    counted = torn or _told(_counts(tx))
    return counted or _told([("ended elsewhere than its record says", _misplaced(tx, segments))])


def _told(counts: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{what}: {count} job{'s' if count > 1 else ''}" for what, count in counts if count]


def _torn(tx: Transaction) -> Iterator[str]:
    """Yield what cannot even be read."""
    lost = _columns_as_made() - _columns(tx.db)
    if lost:
        yield "no " + ", ".join(f"{table}.{column}" for table, column, _ in sorted(lost)[:_SHOWN])
        return
    for column in COLUMNS:
        sizes = {row[0] for row in tx.db.execute(f"SELECT DISTINCT LENGTH({column}) FROM page")}  # noqa: S608 - a column of ours
        if sizes - {column_size(column)}:
            yield f"a page of {column} has another size"
    odd = tx.db.execute(
        "SELECT COUNT(*) FROM outcome WHERE LENGTH(rows) % ? != 0", (_SIZE,)
    ).fetchone()[0]
    if odd:
        yield f"{odd} records of ends have another size"
    for key, kind in _NEEDED.items():
        if not isinstance(tx.meta(key), kind):
            yield f"no readable {key}"


@cache
def _columns_as_made() -> frozenset[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema())
        return _columns(connection)


def _columns(connection: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    """Return table, name and type of each column."""
    return frozenset(connection.execute(sql("columns")))


def _counts(tx: Transaction) -> Iterator[tuple[str, int]]:
    columns: tuple[Column, ...] = ("state", "attempt", "floor", "submission", "outcome")
    state, attempt, floor, submission, outcome = (read_column(tx.db, name) for name in columns)
    over = np.isin(state, ENDED_STATES)
    yield "unknown state", int((state > max(State)).sum())
    yield "revoked beyond its attempts", int((floor > attempt).sum())
    yield (
        "under way for no submission",
        int((np.isin(state, LIVE_STATES) & (submission == 0)).sum()),
    )
    yield "ended without a record, or not ended with one", int((over != (outcome > 0)).sum())
    ids = np.flatnonzero(over & (outcome > 0)) + 1
    known = {row[0] for row in tx.db.execute("SELECT id FROM outcome")}
    strange = ~np.isin(outcome[ids - 1], np.fromiter(known, np.int64, len(known)))
    yield "ended by a record that is not there", int(strange.sum())
    ids = ids[~strange]
    ends = locate(tx, ids)
    wanted = np.full(256, State.EXPIRED, "u1")
    for end, which in _STATES.items():
        wanted[end] = which
    other = (ends["job"] != ids) | (wanted[ends["outcome"]] != state[ids - 1])
    yield "ended otherwise than its record says", int(other.sum())
    yield "ended by a revoked record", int((ends["attempt"] <= floor[ids - 1]).sum())


def _misplaced(tx: Transaction, segments: Path) -> int:
    """Count the ends that stand otherwise, or elsewhere, in segments that have them.

    What a segment has not, it has lost: that is no fault of the database.
    """
    names = segment_names(tx)
    odd: dict[int, list[bytes]] = defaultdict(list)
    with ExitStack() as files:
        opened: dict[int, tuple[int, int]] = {}
        for _, number, rows in tx.execute("all_outcomes"):
            if number not in opened:
                opened[number] = _opened(segments / names.get(number, ""), files)
            fd, size = opened[number]
            for start in range(0, len(rows), _SIZE):
                row = rows[start : start + _SIZE]
                place = int.from_bytes(row[:_POS], "little")
                there = os.pread(fd, _SIZE - _POS, place + HEADER.size) if place < size else b""
                if there != row[_POS:]:
                    odd[number].append(row)
    return sum(
        _known(segments / names[number], rows) if number in names else len(rows)
        for number, rows in odd.items()
    )


def _opened(path: Path, files: ExitStack) -> tuple[int, int]:
    """Return the descriptor and the size of a segment; one that is gone is empty."""
    try:
        file = files.enter_context(path.open("rb"))
    except OSError:
        return -1, 0
    return file.fileno(), os.fstat(file.fileno()).st_size


def _known(path: Path, rows: list[bytes]) -> int:
    """Count the records whose job and attempt, or whose place, a segment has otherwise."""
    there = read_stretch(path, 0).rows
    ours = np.frombuffer(b"".join(rows), ROW_DTYPE)
    same_end = np.isin(_end_of(ours), _end_of(there))
    return int((same_end | np.isin(ours["pos"], there["pos"])).sum())


def _end_of(rows: Rows) -> NDArray[np.uint64]:
    job: NDArray[np.uint64] = rows["job"].astype(np.uint64)
    ends: NDArray[np.uint64] = job << np.uint64(32) | rows["attempt"]
    return ends
