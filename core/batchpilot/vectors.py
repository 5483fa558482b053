"""Vectors: what counts as one, how they are recycled or crossed, and how they may be given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from math import prod
from typing import Any

import numpy as np

from .errors import DefinitionError


_SCALARS = (str, bytes, bytearray, dict, set, frozenset, type(None))
_ARRAYS = ("Series", "Index", "ExtensionArray", "JobIds")
RESERVED = ("fun", "args", "more_args", "tags", "job")
"""Names that mean something else as keywords of `batch_map`: such vectors go by `args=`."""


def as_vector(value: Any) -> list[Any]:
    """Return the elements of a value: itself alone where it is no vector.

    Example:
        >>> as_vector("ab"), as_vector(range(3))
        (['ab'], [0, 1, 2])
    """
    if isinstance(value, _SCALARS):
        return [value]
    if isinstance(value, np.ndarray):
        return _elements(value)
    if isinstance(value, list | tuple | range | Iterator):
        return list(value)
    if any(kind.__name__ in _ARRAYS for kind in type(value).__mro__):
        return _elements(np.asarray(value))
    return [value]


def grid(**vectors: Any) -> dict[str, list[Any]]:
    """Return the cross product of vectors, as equally long lists; the first name varies slowest.

    Example:
        >>> grid(a=[1, 2], b="xy", c=[True, False])
        {'a': [1, 1, 2, 2], 'b': ['xy', 'xy', 'xy', 'xy'], 'c': [True, False, True, False]}
    """
    columns = {name: as_vector(value) for name, value in vectors.items()}
    total = prod(map(len, columns.values()))
    crossed: dict[str, list[Any]] = {}
    inner = total
    for name, column in columns.items():
        if not total:
            crossed[name] = []
            continue
        inner //= len(column)
        block = [value for value in column for _ in repeat(None, inner)]
        crossed[name] = block * (total // len(block))
    return crossed


def as_columns(args: Any, vectors: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the vectors by name, from keywords or from `args`.

    Raises:
        DefinitionError: Both were given, or `args` is no table.
    """
    if args is None:
        _refuse_reserved(vectors)
        return {name: as_vector(value) for name, value in vectors.items()}
    if vectors:
        raise DefinitionError(
            "vectors were given both as keywords and by args=", remedy="use one of the two"
        )
    if any(kind.__name__ == "DataFrame" for kind in type(args).__mro__):
        return _from_table(args)
    if isinstance(args, Mapping):
        return {str(name): as_vector(value) for name, value in args.items()}
    return _from_records(args)


def recycle(columns: dict[str, list[Any]], warn: Callable[[str], None]) -> dict[str, list[Any]]:
    """Return the columns repeated to the length of the longest; empty where one is empty."""
    sizes = {name: len(column) for name, column in columns.items()}
    if not sizes or min(sizes.values()) == 0:
        return {name: [] for name in columns}
    n = max(sizes.values())
    for name, size in sizes.items():
        if n % size:
            warn(
                f"{n} is not a multiple of the length {size} of {name}: its last round is cut short"
            )
    return {
        name: column if len(column) == n else (column * -(-n // len(column)))[:n]
        for name, column in columns.items()
    }


def _elements(array: np.ndarray[Any, Any]) -> list[Any]:
    if array.ndim == 0:
        return [array[()]]
    plain = array.ndim == 1 and array.dtype.kind in "biufcOUS"
    return array.tolist() if plain else list(array)


def _refuse_reserved(vectors: Mapping[str, Any]) -> None:
    for name in RESERVED:
        if name in vectors:
            why = ": that parameter receives the Job" if name == "job" else ""
            raise DefinitionError(
                f"a vector cannot be called {name!r} as a keyword{why}",
                remedy=f"rename it, or pass args={{{name!r}: ...}} if you mean it",
            )


def _from_table(table: Any) -> dict[str, list[Any]]:
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefinitionError(
            f"args has several columns called {', '.join(twice)}", remedy="rename them"
        )
    return {name: as_vector(table[column]) for name, column in zip(names, table, strict=True)}


def _from_records(args: Any) -> dict[str, list[Any]]:
    rows = list(args) if isinstance(args, list | tuple) else None
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        raise DefinitionError(
            f"args cannot be a {type(args).__name__}: give vectors in a dict, DataFrame or dicts",
            remedy="for a vector called args, pass args={'args': ...}",
        )
    names = list(rows[0]) if rows else []
    for index, row in enumerate(rows):
        if set(row) != set(names):
            raise DefinitionError(
                f"row {index} of args has {sorted(row)}, the first has {sorted(names)}",
                remedy="give every row the same names",
            )
    return {str(name): [row[name] for row in rows] for name in names}
