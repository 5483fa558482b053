"""States of jobs in pages of 1024: numpy arrays read and written inside one transaction.

A million jobs are a thousand small rows, so that counting states takes milliseconds and applying
the ends of a chunk of 4096 jobs rewrites four or five rows. Jobs are addressed by id from 1;
arrays here by id - 1.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import RegistryDamaged

from .statements import sql


PAGE = 1024

Column = Literal["state", "attempt", "floor", "charged", "planned", "submission", "outcome"]
COLUMNS: tuple[Column, ...] = get_args(Column)
_DTYPES: dict[str, np.dtype[Any]] = {
    "state": np.dtype("u1"),
    "attempt": np.dtype("<u4"),
    "floor": np.dtype("<u4"),
    "charged": np.dtype("u1"),
    "planned": np.dtype("u1"),
    "submission": np.dtype("<u4"),
    "outcome": np.dtype("<u4"),
}

Ids = NDArray[np.int64]


class State(IntEnum):
    """Where a job stands; FED is queued too, but handed to the broker."""

    ABSENT = 0
    DEFINED = 1
    QUEUED = 2
    FED = 3
    RUNNING = 4
    DONE = 5
    ERROR = 6
    EXPIRED = 7


LIVE_STATES = (State.QUEUED, State.FED, State.RUNNING)
ENDED_STATES = (State.DONE, State.ERROR, State.EXPIRED)


def column_size(column: Column) -> int:
    """Return the bytes that a column takes in a page."""
    return PAGE * _DTYPES[column].itemsize


class Pages:
    """Read and change job states through one connection; `flush` writes what changed.

    Make one inside each transaction and forget it with the transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._pages: dict[int, dict[str, NDArray[Any]]] = {}
        self._dirty: set[int] = set()

    def take(self, column: Column, ids: Ids) -> NDArray[Any]:
        """Return the values of a column for job ids (any order)."""
        out = np.empty(len(ids), _DTYPES[column])
        for k, where, index in _by_page(ids):
            out[where] = self._page(k)[column][index]
        return out

    def put(self, column: Column, ids: Ids, values: NDArray[Any] | int) -> None:
        """Set the values of a column for job ids."""
        for k, where, index in _by_page(ids):
            page = self._page(k)
            page[column][index] = values if isinstance(values, int) else values[where]
            self._dirty.add(k)

    def flush(self) -> None:
        """Write the changed pages back."""
        self._db.executemany(
            sql("write_page"),
            [
                (k, *(self._pages[k][column].tobytes() for column in COLUMNS))
                for k in sorted(self._dirty)
            ],
        )
        self._dirty.clear()

    def _page(self, k: int) -> dict[str, NDArray[Any]]:
        page = self._pages.get(k)
        if page is None:
            page = self._pages[k] = self._read(k)
        return page

    def _read(self, k: int) -> dict[str, NDArray[Any]]:
        row = self._db.execute(sql("read_page"), (k,)).fetchone()
        if row is None:
            return {column: np.zeros(PAGE, _DTYPES[column]) for column in COLUMNS}
        return {
            column: np.frombuffer(blob, _DTYPES[column]).copy()
            for column, blob in zip(COLUMNS, row, strict=True)
        }


def _by_page(ids: Ids) -> Iterator[tuple[int, Any, NDArray[np.int64]]]:
    """Yield (page, positions in ids, positions in the page) for each page that ids touch."""
    zero = np.asarray(ids, np.int64) - 1
    if not len(zero):
        return
    keys = zero // PAGE
    first, last = int(keys[0]), int(keys[-1])
    if first == last and bool((keys == first).all()):
        yield first, slice(None), zero % PAGE
        return
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order])) + 1
    for where in np.split(order, bounds):
        yield int(keys[where[0]]), where, zero[where] % PAGE


def read_column(connection: sqlite3.Connection, column: Column) -> NDArray[Any]:
    """Return a column of all jobs ever defined as one array; element i belongs to job i + 1.

    Raises:
        RegistryDamaged: A page is none of theirs, or not whole.
    """
    if column not in _DTYPES:
        raise KeyError(column)
    size = connection.execute(sql("get_meta"), ("last_job",)).fetchone()[0]
    out = np.zeros(-(-size // PAGE) * PAGE, _DTYPES[column])
    for k, blob in connection.execute(f"SELECT k, {column} FROM page"):  # noqa: S608 - a column of ours, checked above
        if not isinstance(k, int) or not _fits(blob, column) or not 0 <= k * PAGE < len(out):
            raise RegistryDamaged(
                f"page {k} of the database's jobs is damaged", remedy="run `batchpilot repair`"
            )
        out[k * PAGE : (k + 1) * PAGE] = np.frombuffer(blob, _DTYPES[column])
    return out[:size]


def _fits(blob: Any, column: Column) -> bool:
    return isinstance(blob, bytes) and len(blob) == column_size(column)


def ranges_of(ids: Ids) -> NDArray[np.int64]:
    """Return ids, in their order, as rows (first, last) of consecutive runs.

    Example:
        >>> ranges_of(np.array([4, 5, 6, 2])).tolist()
        [[4, 6], [2, 2]]
    """
    ids = np.asarray(ids, np.int64)
    if not len(ids):
        return np.empty((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(ids) != 1)
    first = ids[np.concatenate(([0], breaks + 1))]
    last = ids[np.concatenate((breaks, [len(ids) - 1]))]
    return np.stack((first, last), axis=1)


def ids_of(ranges: NDArray[np.int64]) -> Ids:
    """Return the ids that rows (first, last) stand for, in their order."""
    ranges = np.asarray(ranges, np.int64).reshape(-1, 2)
    if len(ranges) == 1:
        return np.arange(ranges[0, 0], ranges[0, 1] + 1)
    sizes = ranges[:, 1] - ranges[:, 0] + 1
    starts = np.repeat(ranges[:, 0] - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes)
    return starts + np.arange(int(sizes.sum()))


def pack_ranges(ids: Ids) -> bytes:
    """Return ids as the u4 pairs that the database keeps."""
    return ranges_of(ids).astype("<u4").tobytes()


def unpack_ranges(blob: bytes) -> Ids:
    """Return the ids kept as u4 pairs."""
    return ids_of(np.frombuffer(blob, "<u4").astype(np.int64))


def span_ids(first: int, size: int, blob: bytes | None, start: int = 0, stop: int = -1) -> Ids:
    """Return the jobs of a span in their order, from a place in it to another.

    Args:
        first: Its first job.
        size: How many jobs it has.
        blob: Its jobs as a u4 array, None for a contiguous stretch.
        start: The first place.
        stop: Behind the last place, -1 for the end.

    Example:
        >>> span_ids(5, 4, None, 1).tolist()
        [6, 7, 8]
    """
    stop = size if stop < 0 else stop
    if blob is None:
        return np.arange(first + start, first + stop)
    return np.frombuffer(blob, "<u4")[start:stop].astype(np.int64)
