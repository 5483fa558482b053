"""Lots: what a table of job ids asks for beyond the ids, chunks or resources of each job's own.

A lot is what becomes one submission: jobs of one class in the order they are to run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import SubmissionError
from .jobids import as_array
from .resources import KNOWN
from .store.pages import Ids


if TYPE_CHECKING:
    import pandas as pd

CHUNK = "chunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Hold jobs that are submitted alike.

    Attributes:
        ids: The jobs in the order they are to run.
        resources: What each of them gets, sorted by name.
        ends: Where each of the user's chunks ends among them, None where the user made none.
    """

    ids: Ids
    resources: Mapping[str, Any]
    ends: Ids | None = None

    def parts(self, most: int) -> Iterator[tuple[Ids, Ids | None]]:
        """Yield the jobs in parts of at most so many, or as many whole chunks as come near to it.

        Each part comes with where its chunks end.
        """
        if self.ends is None:
            for start in range(0, len(self.ids), most):
                yield self.ids[start : start + most], None
            return
        begins = np.concatenate(([0], self.ends[:-1]))
        firsts = np.flatnonzero(np.diff(begins // most, prepend=-1))
        for first, stop in pairwise([*firsts.tolist(), len(self.ends)]):
            begin = begins[first]
            yield self.ids[begin : self.ends[stop - 1]], self.ends[first:stop] - begin


def lots_of(given: object, ids: Ids, resources: Mapping[str, Any]) -> list[Lot]:
    """Return what is to be submitted alike, in the order of the first job of each lot.

    Args:
        given: What the user gave as ids. In a table the column `chunk` is honoured if a number
            occurs twice in it, and each column named like a resource goes before `resources`
            where it has a value.
        ids: The jobs among them that exist, in the order given.
        resources: For all of them, sorted by name.

    Raises:
        SubmissionError: Chunks are combined with resources of the jobs' own, or a value makes no
            sense.
    """
    table = _rows_of(given, ids)
    if table is None:
        return [Lot(ids=ids, resources=resources)]
    chunks = _chunks(table, ids)
    names = [name for name in table.columns if name in KNOWN and bool(table[name].notna().any())]
    if chunks is not None and names:
        raise SubmissionError(
            "per-job resources cannot be combined with chunks",
            remedy=f"drop the column {CHUNK}, or {_spoken(names)}",
        )
    if chunks is not None:
        order = np.argsort(chunks, kind="stable")
        return [Lot(ids=ids[order], resources=resources, ends=np.cumsum(np.bincount(chunks)))]
    return _by_resources(table, names, ids, resources)


def _rows_of(given: object, ids: Ids) -> pd.DataFrame | None:
    """Return the rows of a table that belong to the ids, in their order; None if it is no table."""
    if not hasattr(given, "columns") or not len(ids):
        return None
    table: Any = given
    rows = as_array(given)
    sorter = np.argsort(rows, kind="stable")
    wanted: pd.DataFrame = table.iloc[sorter[np.searchsorted(rows, ids, sorter=sorter)]]
    return wanted.loc[:, ~wanted.columns.duplicated()]


def _chunks(table: pd.DataFrame, ids: Ids) -> NDArray[np.int64] | None:
    """Return the chunk of each job, numbered as they first appear; None if none holds two jobs."""
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    if CHUNK not in table.columns:
        return None
    numbers = pd.to_numeric(table[CHUNK], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.isfinite(numbers) & (np.floor(numbers) == numbers))
    if bad.any():
        at = int(np.argmax(bad))
        raise SubmissionError(
            f"column {CHUNK} holds {table[CHUNK].iloc[at]!r} for job {ids[at]}",
            remedy="number the chunk of every job by a whole number, as bp.chunk(...) does",
        )
    codes, unique = pd.factorize(numbers)
    return codes if len(unique) < len(codes) else None


def _by_resources(
    table: pd.DataFrame, names: Sequence[str], ids: Ids, resources: Mapping[str, Any]
) -> list[Lot]:
    columns = [list(map(_plain, table[name].tolist())) for name in names]
    numbers: dict[tuple[Any, ...], int] = {}
    try:
        codes = [numbers.setdefault(row, len(numbers)) for row in zip(*columns, strict=True)]
    except TypeError as error:
        raise SubmissionError(
            f"resources of single jobs must be numbers or strings: {error}",
            remedy=f"look at {_spoken(names)}",
        ) from error
    if len(numbers) < 2:  # noqa: PLR2004 - all jobs are alike
        own = dict(zip(names, next(iter(numbers), ()), strict=False))
        return [Lot(ids=ids, resources=_over(resources, own))]
    order = np.argsort(np.array(codes), kind="stable")
    parts = np.split(ids[order], np.cumsum(np.bincount(codes))[:-1])
    return [
        Lot(ids=part, resources=_over(resources, dict(zip(names, row, strict=True))))
        for row, part in zip(numbers, parts, strict=True)
    ]


def _plain(value: Any) -> Any:
    """Return a value as resources have it: whole numbers as int, what is missing as None."""
    if value is None or value != value or type(value).__name__ == "NAType":  # noqa: PLR0124 - so is NaN told
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _over(resources: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in own.items() if value is not None}
    return dict(sorted({**resources, **known}.items()))


def _spoken(names: Sequence[str]) -> str:
    return ("the column " if len(names) == 1 else "the columns ") + ", ".join(names)
