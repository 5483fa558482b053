"""Say when parameters are equal: the canonical bytes of a value.

Two definitions are one where their bytes are. Keys of dicts are sorted and sets have no order;
a bool is no number; 1 is 1.0, -0.0 is 0.0 and NaN is NaN; numpy's scalars are Python's; arrays
are equal by dtype, shape and bytes, tables by their columns. Lists are no tuples. Everything else
goes by its pickle, so that what is not surely equal is different: a job too many is cheaper than
one that is missing.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import cloudpickle
import numpy as np

from batchpilot.errors import DefinitionError


KEY_SIZE = 16
LARGE = 4096
"""Bytes from which text and arrays are hashed once, however many rows hold the same object."""

Encode = Callable[[Any], bytes]


class Encoder:
    """Encode values; make one for each call of the user's, so that nothing changes meanwhile."""

    def __init__(self) -> None:
        self._hashed: dict[int, tuple[Any, bytes]] = {}

    def key(self, value: Any) -> bytes:
        """Return 16 bytes that are equal for equal values, and for no others.

        Raises:
            DefinitionError: It cannot be pickled, or holds itself.
        """
        return blake2b(self.encode(value), digest_size=KEY_SIZE).digest()

    def encode(self, value: Any) -> bytes:
        """Return the canonical bytes of a value.

        Raises:
            DefinitionError: It cannot be pickled, or holds itself.

        Example:
            >>> Encoder().encode({"a": 1, "b": 2}) == Encoder().encode({"b": 2.0, "a": 1.0})
            True
        """
        try:
            return self._encode(value)
        except RecursionError as error:
            raise DefinitionError(
                "a parameter is nested too deeply, or holds itself", remedy="pass a flat value"
            ) from error

    def _encode(self, value: Any) -> bytes:
        kind = type(value)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            return simple(value)
        container = _CONTAINERS.get(kind)
        if container is not None:
            return container(self._encode, value)
        if kind in _TEXTS:
            return self._once(value, _text, value) if len(value) > LARGE else _text(value)
        if kind in _ARRAYS:
            encode = (_array, self._encode, value)
            return self._once(value, *encode) if value.nbytes > LARGE else _array(*encode[1:])
        return self._encode_other(value)

    def _encode_other(self, value: Any) -> bytes:
        if isinstance(value, np.generic):
            return _scalar(self._encode, value)
        kind = type(value)
        named = _NAMED.get((kind.__module__.partition(".")[0], kind.__name__))
        return _pickled(value) if named is None else named(self._encode, value)

    def _once(self, value: Any, encode: Callable[..., bytes], *args: Any) -> bytes:
        known = self._hashed.get(id(value))
        if known is None:
            # the value is kept so that its id cannot pass to another object
            known = (value, _tagged(b"h", blake2b(encode(*args)).digest()))
            self._hashed[id(value)] = known
        return known[1]


def _tagged(tag: bytes, body: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(body), body)


def _none(_: None) -> bytes:
    return b"N"


def _bool(value: bool) -> bytes:
    return b"T" if value else b"F"


def _int(value: int) -> bytes:
    return b"i%x;" % value if value >= 0 else b"i-%x;" % -value


def _float(value: float) -> bytes:
    if value.is_integer():
        return _int(int(value))
    return b"nan" if math.isnan(value) else b"r" + struct.pack("<d", value)


def _complex(value: complex) -> bytes:
    return b"z" + _float(value.real) + _float(value.imag) if value.imag else _float(value.real)


def _moment(value: dt.date | dt.time) -> bytes:
    zone, fold = getattr(value, "tzinfo", None), getattr(value, "fold", 0)
    return _tagged(b"m", f"{value.isoformat()} {zone!r} {fold}".encode())


def _span(value: dt.timedelta) -> bytes:
    return b"w%d:%d:%d;" % (value.days, value.seconds, value.microseconds)


def _text(value: str | bytes | bytearray) -> bytes:
    if isinstance(value, str):
        return _tagged(b"s", value.encode("utf-8", "surrogatepass"))
    return _tagged(b"y", bytes(value))


def _sequence(tag: bytes, encode: Encode, values: Iterable[Any]) -> bytes:
    return _tagged(tag, b"".join([encode(value) for value in values]))


def _list(encode: Encode, value: list[Any]) -> bytes:
    return _sequence(b"l", encode, value)


def _tuple(encode: Encode, value: tuple[Any, ...]) -> bytes:
    return _sequence(b"t", encode, value)


def _set(encode: Encode, value: set[Any] | frozenset[Any]) -> bytes:
    return _tagged(b"e", b"".join(sorted(map(encode, value))))


def _dict(encode: Encode, value: dict[Any, Any]) -> bytes:
    items = sorted([(encode(key), encode(item)) for key, item in value.items()])
    return _tagged(b"d", b"".join([part for item in items for part in item]))


def _scalar(encode: Encode, value: np.generic) -> bytes:
    plain = value.item()
    if value.dtype.kind in "biufcUS" and not isinstance(plain, np.generic):
        return encode(plain)
    return _array(encode, np.asarray(value))  # dates, long doubles, records


def _array(encode: Encode, value: np.ndarray[Any, Any]) -> bytes:
    head = encode([repr(value.dtype), list(value.shape)])
    body = encode(value.tolist()) if value.dtype.hasobject else value.tobytes()
    return _tagged(b"a", head + body)


def _column(encode: Encode, value: Any) -> bytes:
    """Encode a Series or an Index: dtype, categories, name, labels, values."""
    kinds = getattr(value.dtype, "categories", None)
    order = getattr(value.dtype, "ordered", None)
    labels = getattr(value, "index", None)
    values = value.to_numpy() if value.dtype.kind in "biufc" else value.tolist()
    parts = (str(value.dtype), kinds, order, value.name, labels, values)
    return _sequence(b"c", encode, parts)


def _table(encode: Encode, value: Any) -> bytes:
    columns = [value.iloc[:, at] for at in range(value.shape[1])]
    return _sequence(b"f", encode, [value.columns, *columns])


def _pickled(value: Any) -> bytes:
    try:
        return _tagged(b"p", cloudpickle.dumps(value, protocol=5))
    except RecursionError:
        raise
    except Exception as error:  # a user's object may raise anything while it is pickled
        raise DefinitionError(
            f"a parameter of type {type(value).__name__} cannot be pickled: {error}",
            remedy="pass what is needed to make the object inside the job instead",
        ) from error


_TEXTS = frozenset((str, bytes, bytearray))
_ARRAYS = frozenset((np.ndarray, np.memmap))
_SIMPLE: dict[type, Callable[[Any], bytes]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex,
    dt.datetime: _moment,
    dt.date: _moment,
    dt.time: _moment,
    dt.timedelta: _span,
}
_CONTAINERS: dict[type, Callable[[Encode, Any], bytes]] = {
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _set,
    dict: _dict,
}
_COLUMNS = ("Series", "Index", "RangeIndex", "DatetimeIndex", "CategoricalIndex")
_NAMED: dict[tuple[str, str], Callable[[Encode, Any], bytes]] = {
    ("pandas", "DataFrame"): _table,
    ("pandas", "Timestamp"): lambda _, value: _moment(value),
    **{("pandas", name): _column for name in _COLUMNS},
}
