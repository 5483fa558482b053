"""Whether what was decoded has the shape that its reader counts on.

A seal proves who wrote a message, not that it makes sense: another version writes other fields,
and whoever has the key may be mistaken. A reader that asks here meets a `TypeError` or
`ValueError` at the message, and never somewhere behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


Types = Mapping[str, type | tuple[type, ...]]

NUMBER = (int, float)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LARGEST = 1 << 63
"""What SQLite keeps in an integer is smaller."""


def check(values: Mapping[str, Any], types: Types) -> None:
    """Compare the types of fields, those of them that are there; a bool is no number.

    Raises:
        TypeError: One is of another type.
    """
    for name, expected in types.items():
        kinds = expected if isinstance(expected, tuple) else (expected,)
        if name in values and type(values[name]) not in kinds:
            raise TypeError(name)


def check_counts(numbers: Iterable[Any]) -> None:
    """Check that these are whole numbers that the registry can keep.

    Raises:
        TypeError: One is no whole number.
        ValueError: One is negative or too large.
    """
    for number in numbers:
        if type(number) is not int:
            raise TypeError(repr(number))
        if not 0 <= number < _LARGEST:
            raise ValueError(number)


def check_ranges(ranges: Iterable[Any]) -> None:
    """Check that these are job ids (first, last), the first not behind the last.

    Raises:
        TypeError: One is no pair of whole numbers.
        ValueError: One ends before it begins, or holds an impossible id.
    """
    for first, last in ranges:
        check_counts((first, last))
        if not 1 <= first <= last < 1 << 32:
            raise ValueError((first, last))


def check_name(name: Any) -> None:
    """Check that this may name an agent or a segment: it becomes the name of files.

    Raises:
        TypeError: It is no string.
        ValueError: It may not.
    """
    if not isinstance(name, str):
        raise TypeError(repr(name))
    if not _NAME.fullmatch(name):
        raise ValueError(name)
