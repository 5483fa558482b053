"""Columns of tables from Python values: typed where that loses nothing, objects otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray


if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = frozenset((int, float))
_PLAIN = frozenset((int, float, bool, str))
_TIMES = (datetime, date, timedelta)
_EXACT = 2**53


def objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """Return values as an array of objects, whatever they are."""
    return np.fromiter(values, np.object_, len(values))


def column(values: Sequence[Any], index: pd.Index[Any] | None = None) -> pd.Series[Any]:
    """Return values as a Series; None is missing.

    Numbers, booleans, strings, times and numpy's scalars become columns of their type, when they
    are all of one kind (integers among floats too, while they are exact); everything else stays
    as it is.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    kinds = set(map(type, values))
    missing = type(None) in kinds
    kinds.discard(type(None))
    if not kinds or not _is_typed(kinds, values, missing=missing):
        return pd.Series(objects(values), index=index)
    return pd.Series(list(values), index=index)


def _is_typed(kinds: set[type], values: Sequence[Any], *, missing: bool) -> bool:
    if kinds <= _NUMBERS:
        as_floats = int in kinds and (missing or len(kinds) > 1)
        return not as_floats or all(abs(value) <= _EXACT for value in values if type(value) is int)
    if len(kinds) > 1:
        return False
    (kind,) = kinds
    if kind is bool:
        return not missing
    return kind in _PLAIN or issubclass(kind, (*_TIMES, np.generic))


__all__ = ["column", "objects"]
