"""Divide things into chunks: by number, evenly in time, or within a capacity.

Pure functions that return the number of a chunk, from 1, for each element; values and errors are
batchtools'. They are seldom needed: agents take what comes next, so jobs of different length even
out by themselves.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from typing import Any

from .errors import DefinitionError
from .vectors import as_vector


def chunk(
    x: Any,
    n_chunks: int | None = None,
    chunk_size: int | None = None,
    *,
    shuffle: bool = True,
) -> list[int]:
    """Divide elements into chunks of about the same size.

    Args:
        x: The elements, of which only the number counts; for example job ids.
        n_chunks: How many chunks; at most one an element are made.
        chunk_size: The largest chunk, instead of their number.
        shuffle: Put elements into chunks at random (by `random`), else in their order.

    Raises:
        DefinitionError: Neither or both of `n_chunks` and `chunk_size` are given, or not positive.

    Example:
        >>> chunk("abcdefg", n_chunks=3, shuffle=False), chunk(range(7), 3, shuffle=False)
        ([1], [1, 1, 1, 2, 2, 3, 3])
    """
    if (n_chunks is None) == (chunk_size is None):
        raise DefinitionError(
            "You must provide either 'n_chunks' (x)or 'chunk_size'", remedy="give one of the two"
        )
    n = len(as_vector(x))
    if chunk_size is not None:
        _check_count("chunk_size", chunk_size)
        n_chunks = -(-n // chunk_size)
    elif n_chunks is not None:
        _check_count("n_chunks", n_chunks)
    if n == 0 or n_chunks is None:
        return []
    chunks = [1 + i % min(n_chunks, n) for i in range(n)]
    if shuffle:
        random.shuffle(chunks)
    else:
        chunks.sort()
    return chunks


def lpt(x: Any, n_chunks: int = 1) -> list[int]:
    """Divide times into chunks whose sums are about the same: the longest goes first, always.

    Args:
        x: Expected run times, or other numbers that are not negative.
        n_chunks: How many chunks.

    Raises:
        DefinitionError: A number is negative or missing, or `n_chunks` is not positive.

    Example:
        >>> lpt([10, 40, 20, 30], 2)
        [1, 1, 2, 2]
    """
    values = _numbers(x)
    _check_count("n_chunks", n_chunks)
    chunks = [0] * len(values)
    sums: list[tuple[float, int]] = []
    for rank, at in enumerate(_descending(values)):
        total, number = (0.0, rank + 1) if rank < n_chunks else heapq.heappop(sums)
        chunks[at] = number
        heapq.heappush(sums, (total + values[at], number))
    return chunks


def binpack(x: Any, chunk_size: float | None = None) -> list[int]:
    """Divide times into few chunks with sums of at most `chunk_size`: the longest goes first.

    Each goes into the first chunk that has room for it.

    Args:
        x: Expected run times, or other numbers that are not negative.
        chunk_size: The largest sum, by default the largest element.

    Raises:
        DefinitionError: A number is negative, missing or larger than `chunk_size`.

    Example:
        >>> binpack([10, 40, 20, 30], 50)
        [1, 1, 2, 2]
    """
    values = _numbers(x)
    if not values:
        return []
    capacity = float(max(values) if chunk_size is None else chunk_size)
    if max(values) > capacity:
        raise DefinitionError(
            "Capacity not sufficient. Largest item does not fit.",
            remedy=f"give a chunk_size of at least {max(values):g}",
        )
    bins = _Bins(len(values), capacity)
    chunks = [0] * len(values)
    for at in _descending(values):
        chunks[at] = bins.put(values[at])
    return chunks


class _Bins:
    """Find the first bin with room in logarithmic time: a tree of the room in each."""

    def __init__(self, most: int, capacity: float) -> None:
        self._leaves = 1 << (most - 1).bit_length()
        self._room = [capacity] * (2 * self._leaves)

    def put(self, value: float) -> int:
        """Put a value into the first bin with room for it and return its number."""
        room, node = self._room, 1
        while node < self._leaves:
            node = 2 * node if room[2 * node] >= value else 2 * node + 1
        room[node] -= value
        number = node - self._leaves + 1
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
        return number


def _descending(values: Sequence[float]) -> list[int]:
    """Return where the values stand, the largest first and equal ones in their order."""
    return sorted(range(len(values)), key=lambda at: -values[at])


def _numbers(x: Any) -> list[float]:
    values = [math.nan if value is None else float(value) for value in as_vector(x)]
    for number, value in enumerate(values, 1):
        if math.isnan(value):
            raise _bad("x", f"Contains missing values (element {number})")
        if value < 0:
            raise _bad("x", f"Element {number} is not >= 0")
        if math.isinf(value):
            raise _bad("x", f"Must be finite (element {number})")
    return values


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad(name, f"Must be a whole number, not {value!r}")
    if value < 1:
        raise _bad(name, "Must be >= 1")


def _bad(name: str, why: str) -> DefinitionError:
    return DefinitionError(f"Assertion on '{name}' failed: {why}.", remedy="change it")
