"""Job ids: the immutable sequence that finding returns, and what every call accepts for them.

`JobIds` is sorted and free of duplicates, so it works as a set (`&`, `|`, `-`) and as a sequence. `coerce_ids` is the one gate
for an argument called `ids`: duplicates are an error, unknown ids are dropped with a warning.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, Protocol, Self, overload

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import DefinitionError
from batchpilot.notices import BatchpilotWarning, warn
from batchpilot.store.pages import Ids, State, ids_of, ranges_of


_SHOWN_RANGES = 8


class JobIds(Sequence[int]):
    """Hold job ids, sorted and each once.

    Args:
        ids: What stands for job ids: an int, range, list, array, Series, or a DataFrame with `job_id`.

    Example:
        >>> JobIds([3, 1, 2]) | JobIds(15)
        JobIds(1-3, 15)  # 4 jobs

    Raises:
        DefinitionError: An id occurs twice, or is no whole number.
    """

    __slots__ = ("_array",)
    __array_ufunc__: ClassVar[None] = None  # an array on the left leaves `&`, `|` and `-` to us

    def __init__(self, ids: object = ()) -> None:
        array = as_array(ids)
        _refuse_duplicates(array)
        self._array = _frozen(np.sort(array))

    @classmethod
    def trusted(cls, array: Ids) -> Self:
        """Return ids that are known to be sorted and different; the array is not copied."""
        new = cls.__new__(cls)
        new._array = _frozen(array)
        return new

    def ranges(self) -> list[tuple[int, int]]:
        """Return the runs of consecutive ids as (first, last), both included."""
        return [(first, last) for first, last in ranges_of(self._array).tolist()]

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[int]:
        return iter(self._array.tolist())

    def __contains__(self, job: object) -> bool:
        if not isinstance(job, Integral):
            return False
        at = int(np.searchsorted(self._array, int(job)))
        return at < len(self._array) and int(self._array[at]) == job

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> JobIds: ...
    def __getitem__(self, index: int | slice) -> int | JobIds:
        if not isinstance(index, slice):
            return int(self._array[index])
        if index.step is not None and index.step < 0:
            raise DefinitionError("JobIds are sorted", remedy="use reversed(ids) to go backwards")
        return JobIds.trusted(self._array[index])

    def __and__(self, other: object) -> JobIds:
        return JobIds.trusted(self._array[np.isin(self._array, as_array(other))])

    def __or__(self, other: object) -> JobIds:
        return JobIds.trusted(np.union1d(self._array, as_array(other)))

    def __sub__(self, other: object) -> JobIds:
        return JobIds.trusted(self._array[~np.isin(self._array, as_array(other))])

    __rand__ = __and__
    __ror__ = __or__

    def __rsub__(self, other: object) -> JobIds:
        return JobIds(other) - self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JobIds):
            return np.array_equal(self._array, other._array)
        return list(self) == other if isinstance(other, list) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._array.tobytes())

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        array = self._array if dtype is None else self._array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __reduce__(self) -> tuple[Callable[[Ids], JobIds], tuple[Ids]]:
        return JobIds.trusted, (self._array,)

    def __repr__(self) -> str:
        runs = [f"{a}" if a == b else f"{a}-{b}" for a, b in ranges_of(self._array).tolist()]
        if len(runs) > _SHOWN_RANGES:
            runs[_SHOWN_RANGES - 1 : -1] = ["..."]
        return f"JobIds({', '.join(runs)})  # {len(self)} job{'s' * (len(self) != 1)}"


States = NDArray[np.uint8] | Callable[[Ids], NDArray[np.uint8]]
Default = JobIds | Ids | Callable[[], JobIds | Ids] | None


def coerce_ids(
    ids: object, *, states: States, default: Default = None, keep_order: bool = False
) -> Ids:
    """Return the ids of existing jobs among what a caller gave for them, as an array.

    Args:
        ids: None for the default, or anything `JobIds` takes.
        states: States of all jobs (`read_column(..., "state")`), or a function from ids to their states.
        default: The ids that None stands for, or a function that finds them.
        keep_order: Keep the order given; else they are sorted.

    Raises:
        DefinitionError: An id occurs twice or is no whole number, or None has no default.
    """
    if ids is None:
        return _default(default)
    array = as_array(ids)
    _refuse_duplicates(array)
    array = _drop_unknown(array, states)
    return array if keep_order or bool((np.diff(array) > 0).all()) else np.sort(array)


def as_array(ids: object) -> Ids:
    """Return what stands for job ids as an array, in its own order.

    Raises:
        DefinitionError: It holds something that is no whole number.
    """
    if isinstance(ids, JobIds):
        return ids._array  # noqa: SLF001 - the class above is this module's own
    if isinstance(ids, str | bytes):
        raise _no_ids(ids)
    if isinstance(ids, range):
        return np.arange(ids.start, ids.stop, ids.step, dtype=np.int64)
    values = _values(ids)
    if values.dtype.kind in "iu" and values.ndim <= 1:
        return values.reshape(-1).astype(np.int64, copy=False)
    return np.array(_whole_numbers(values), np.int64)


class Selectable(Protocol):
    """Be a registry in which ids can be looked up."""

    def find_jobs(self) -> JobIds:
        """Return all ids."""

    def find_tagged(self, tags: str) -> JobIds:
        """Return the ids that carry a tag."""


_STATES = (
    *("submitted", "not_submitted", "queued", "started", "not_started", "running", "on_system"),
    *("done", "not_done", "error", "expired"),
)
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def parse_selector(text: str, registry: Selectable) -> JobIds:
    """Return the ids that a selector of the command line means.

    Args:
        text: Terms separated by commas: `15`, `1-10`, `@error` (any state of `find_*`), `tag:x`, `all`.
        registry: Where states and tags are looked up; numbers that are no job are dropped with a warning.

    Raises:
        DefinitionError: A term is none of these.
    """
    found = JobIds()
    numbers: list[tuple[int, int]] = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        if match := _RANGE.fullmatch(term):
            numbers.append((int(match[1]), int(match[2] or match[1])))
        else:
            found |= _looked_up(term, registry)
    return found | _numbered(numbers, registry) if numbers else found


def _numbered(ranges: list[tuple[int, int]], registry: Selectable) -> JobIds:
    """Return the jobs in ranges; of what lies beyond the last job only one is kept, to be warned of."""
    everyone = registry.find_jobs()
    beyond = everyone[-1] + 1 if len(everyone) else 1
    rows = [(first, min(last, max(first, beyond))) for first, last in ranges if first <= last]
    asked = np.unique(ids_of(np.array(rows, np.int64))) if rows else np.empty(0, np.int64)
    return JobIds.trusted(coerce_ids(asked, states=lambda ids: np.isin(ids, everyone).view("u1")))


def _looked_up(term: str, registry: Selectable) -> JobIds:
    state = term.removeprefix("@").replace("-", "_")
    if term == "all":
        return registry.find_jobs()
    if term.startswith("tag:"):
        return registry.find_tagged(term.removeprefix("tag:"))
    if term.startswith("@") and state in _STATES:
        found: JobIds = getattr(registry, f"find_{state}")()
        return found
    raise DefinitionError(
        f"{term!r} selects no jobs",
        remedy=f"use ids (1-10,15), tag:NAME, all, or one of @{', @'.join(_STATES)}",
    )


def _values(ids: object) -> NDArray[Any]:
    columns = getattr(ids, "columns", None)
    if columns is not None:
        frame: Any = ids
        if "job_id" in columns:
            return np.asarray(frame["job_id"])
        if getattr(getattr(frame, "index", None), "name", None) == "job_id":
            return np.asarray(frame.index)
        raise DefinitionError(
            f"a table with the columns {', '.join(map(str, columns))} holds no job ids",
            remedy="give it a column job_id",
        )
    if hasattr(ids, "__array__") or not isinstance(ids, Iterable):
        return np.asarray(ids)
    return np.asarray(list(ids))


def _whole_numbers(values: NDArray[Any]) -> list[int]:
    if values.ndim != 1 or values.dtype.kind == "b":
        raise _no_ids(values.tolist())
    numbers = []
    for value in values.tolist():
        if isinstance(value, float) and value.is_integer():
            numbers.append(int(value))
        elif isinstance(value, Integral) and not isinstance(value, bool):
            numbers.append(operator.index(value))
        else:
            raise _no_ids(value)
    return numbers


def _no_ids(value: object) -> DefinitionError:
    return DefinitionError(
        f"{value!r:.60} is no job id",
        remedy="ids are whole numbers: reg.find_done(), 7, range(1, 11), [1, 5], or a table with job_id",
    )


def _refuse_duplicates(array: Ids) -> None:
    if len(array) == 0 or bool((np.diff(array) > 0).all()):
        return
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise DefinitionError(
            f"duplicated ids: {_some(values[counts > 1])}", remedy="give each id once"
        )


def _drop_unknown(array: Ids, states: States) -> Ids:
    there = (states(array) if callable(states) else _take(states, array)) != State.ABSENT
    if bool(there.all()):
        return array
    gone = array[~there]
    warn(f"Ignoring {len(gone)} invalid job id(s): {_some(gone)}")
    return array[there]


def _take(states: NDArray[np.uint8], array: Ids) -> NDArray[np.uint8]:
    inside = (array >= 1) & (array <= len(states))
    if bool(inside.all()):
        return states[array - 1]
    taken = np.zeros(len(array), np.uint8)
    taken[inside] = states[array[inside] - 1]
    return taken


def _default(default: Default) -> Ids:
    ids = default() if callable(default) else default
    if ids is None:
        raise DefinitionError("no ids given", remedy="say which jobs, for example reg.find_done()")
    return as_array(ids)


def _some(ids: Ids) -> str:
    shown = ", ".join(map(str, ids[:5].tolist()))
    return f"{shown}, ..." if len(ids) > 5 else shown  # noqa: PLR2004 - as many as shown above


def _frozen(array: Ids) -> Ids:
    view = np.asarray(array, np.int64).view()
    view.flags.writeable = False
    return view


__all__ = ["BatchpilotWarning", "JobIds", "as_array", "coerce_ids", "parse_selector"]
