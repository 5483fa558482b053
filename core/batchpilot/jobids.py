"""`JobIds`: the immutable sequence of ids that finding returns, and what can be turned into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import DefinitionError
from batchpilot.store.pages import Ids, ranges_of


_SHOWN_RANGES = 8
_LARGEST = 2**63 - 1


class JobIds(Sequence[int]):
    """Hold job ids, sorted and each once.

    Args:
        ids: What stands for job ids: an int, range, list, array, Series, or a DataFrame with
            `job_id`.

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
        refuse_duplicates(array)
        self._array = _frozen(np.sort(array))

    @classmethod
    def trusted(cls, array: Ids) -> Self:
        """Return ids that are known to be sorted and different; the array is not copied."""
        new = cls.__new__(cls)
        new._array = _frozen(array)  # noqa: SLF001 - an instance of this class in the making
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
        both = np.sort(np.concatenate((self._array, as_array(other))), kind="stable")
        return JobIds.trusted(both[np.diff(both, prepend=both[:1] - 1) != 0])

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
        ranges = ranges_of(self._array)
        shown = ranges if len(ranges) <= _SHOWN_RANGES else ranges[[*range(_SHOWN_RANGES - 1), -1]]
        runs = [f"{a}" if a == b else f"{a}-{b}" for a, b in shown.tolist()]
        if len(ranges) > _SHOWN_RANGES:
            runs.insert(-1, "...")
        return f"JobIds({', '.join(runs)})  # {len(self)} job{'s' * (len(self) != 1)}"


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
        elif type(value) is int and abs(value) <= _LARGEST:
            numbers.append(value)
        else:
            raise _no_ids(value)
    return numbers


def _no_ids(value: object) -> DefinitionError:
    return DefinitionError(
        f"{value!r:.60} is no job id",
        remedy="ids are whole numbers: reg.find_done(), 7, [1, 5], or a table with job_id",
    )


def refuse_duplicates(array: Ids) -> None:
    """Refuse ids of which one occurs twice."""
    if len(array) == 0 or bool((np.diff(array) > 0).all()):
        return
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise DefinitionError(
            f"duplicated ids: {some(values[counts > 1])}", remedy="give each id once"
        )


def some(ids: Ids) -> str:
    """Return the first few ids as words."""
    shown = ", ".join(map(str, ids[:5].tolist()))
    return f"{shown}, ..." if len(ids) > 5 else shown  # noqa: PLR2004 - as many as shown above


def _frozen(array: Ids) -> Ids:
    view = np.asarray(array, np.int64).view()
    view.flags.writeable = False
    return view
