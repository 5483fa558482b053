"""Where the ends of jobs are kept: for each job the row of the event that ended it.

A job's page names the outcome row, and that row's records are searched for the job. What is
returned says everything about an end except its body: the segment, the place in it, times,
memory, log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import RegistryDamaged

from .changing import ROW_DTYPE
from .database import Transaction
from .pages import Ids, read_column


END_DTYPE = np.dtype([("segment", "<u4"), *ROW_DTYPE.descr])
"""An end: number of its segment (0: none), then the fields of its event row."""

Ends = NDArray[np.void]

_MANY = 50_000


@dataclass(frozen=True, slots=True)
class Located:
    """Hold where the ends of jobs are, for reading them when the transaction is over.

    Segments are read outside of transactions: on a network file system a record may be waited for
    longer than a writer waits for a reader.
    """

    ids: Ids
    ends: Ends
    names: Mapping[int, str]

    def places(self) -> Iterator[tuple[int, str | None, Any]]:
        """Yield (job, segment, end); the segment is None where there is no record."""
        for job, end in zip(self.ids.tolist(), self.ends, strict=True):
            yield job, self.names.get(int(end["segment"])), end


def find_records(tx: Transaction, ids: Ids) -> Located:
    """Return where the ends of jobs are, with the names of the segments."""
    return Located(ids, locate(tx, ids), segment_names(tx))


def locate(tx: Transaction, ids: Ids) -> Ends:
    """Return where the ends of jobs are, one record of `END_DTYPE` a job in the order given.

    A job that has not ended has segment 0. Of several records of a job in one event the last
    counts.
    """
    ids = np.asarray(ids, np.int64)
    ends = np.zeros(len(ids), END_DTYPE)
    numbers = _outcome_numbers(tx, ids)
    order = np.argsort(ids, kind="stable")
    for number, segment, rows in _outcomes(tx, np.unique(numbers[numbers > 0])):
        job = rows["job"].astype(np.int64)
        place = order[np.minimum(np.searchsorted(ids, job, sorter=order), len(ids) - 1)]
        mine = (ids[place] == job) & (numbers[place] == number)
        for field in ROW_DTYPE.names or ():
            ends[field][place[mine]] = rows[field][mine]
        ends["segment"][place[mine]] = segment[mine]
    return ends


def segment_names(tx: Transaction) -> dict[int, str]:
    """Return the names of the segments by their numbers."""
    return dict(tx.all("segment_names"))


def _outcome_numbers(tx: Transaction, ids: Ids) -> NDArray[np.int64]:
    if len(ids) < _MANY:
        return tx.pages.take("outcome", ids).astype(np.int64)
    return read_column(tx.db, "outcome")[ids - 1].astype(np.int64)


def _outcomes(
    tx: Transaction, numbers: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]]:
    """Return the records of outcome rows in blocks: for each its outcome, its segment, itself."""
    blocks = []
    for start in range(0, len(numbers), _MANY):
        wanted = numbers[start : start + _MANY]
        found = [tx.execute("read_outcome", number).fetchone() for number in wanted.tolist()]
        if not all(map(_is_whole, found)):
            raise RegistryDamaged(
                "records by which jobs have ended are damaged", remedy="run `batchpilot repair`"
            )
        counts = [len(blob) // ROW_DTYPE.itemsize for _, blob in found]
        blocks.append(
            (
                np.repeat(wanted, counts),
                np.repeat(np.array([segment for segment, _ in found], np.int64), counts),
                np.frombuffer(b"".join(blob for _, blob in found), ROW_DTYPE),
            )
        )
    return blocks


def _is_whole(row: tuple[Any, Any] | None) -> bool:
    return row is not None and isinstance(row[0], int) and isinstance(row[1], bytes)
