"""How a change of a registry is asked for from another host: its method, arguments and answer.

What is asked for is one of the registry's own methods that are marked `by_owner`. Arguments and
answers are msgpack, which carries no code; of our own types it takes job ids, resource classes and
definitions. What is large becomes an object of the registry, and its hash is sent.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

import msgpack
import numpy as np

from batchpilot_agent.errors import ObjectForged, ObjectMissing
from batchpilot_agent.objects import ObjectStore
from batchpilot_broker.nouns import ResourceClass

from . import errors
from .epochs import Definition
from .errors import BatchpilotError, WireError
from .jobids import as_array


LARGE = 1 << 15
"""Bytes from which on a message becomes an object."""

_IDS, _CLASS, _DEFINITION = 1, 2, 3

Method = TypeVar("Method", bound=Callable[..., Any])


class Asking(Protocol):
    """Be a registry that knows whether its owner has to be asked."""

    def _asked(
        self, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[bool, Any]: ...


def by_owner(method: Method) -> Method:
    """Let a method run where the registry is owned: here, or at the coordinator of another host.

    It runs there in one transaction, and once, however often it is asked for. Its arguments and
    what it returns must be such as `pack` takes.
    """

    @wraps(method)
    def run(self: Asking, *args: Any, **kwargs: Any) -> Any:
        done, answer = self._asked(method.__name__, args, kwargs)
        return answer if done else method(self, *args, **kwargs)

    run.by_owner = True  # type: ignore[attr-defined]  # so is it known
    return cast("Method", run)


def may_be_asked(kind: type, verb: str) -> bool:
    """Tell whether a method of a class may be asked for from another host."""
    return bool(getattr(getattr(kind, verb, None), "by_owner", False))


def pack(value: Any, objects: ObjectStore) -> dict[str, Any]:
    """Return the fields of a message that carry a value."""
    packed: bytes = msgpack.packb(value, default=_packed, use_bin_type=True)
    return {"object": objects.put(packed)} if len(packed) > LARGE else {"body": packed}


def unpack(message: Mapping[str, Any], objects: ObjectStore) -> Any:
    """Return the value that a message carries.

    Raises:
        WireError: It is not what `pack` writes, or its object cannot be read.
    """
    try:
        name = message.get("object")
        packed = message["body"] if name is None else objects.get(str(name))
        return msgpack.unpackb(packed, ext_hook=_unpacked, raw=False, strict_map_key=False)
    except (LookupError, TypeError, ValueError, ObjectMissing, ObjectForged, zlib.error) as error:
        raise WireError(
            f"what another host has sent cannot be read: {error}",
            remedy="use the same batchpilot on all hosts",
        ) from error


def pack_error(error: BatchpilotError) -> dict[str, Any]:
    """Return the fields of an answer that tell an error."""
    return {"error": type(error).__name__, "message": error.message, "remedy": error.remedy}


def error_in(message: Mapping[str, Any]) -> BatchpilotError | None:
    """Return the error that an answer tells, None where it tells none."""
    if "error" not in message:
        return None
    kind = getattr(errors, str(message["error"]), BatchpilotError)
    known = isinstance(kind, type) and issubclass(kind, BatchpilotError)
    chosen = kind if known else BatchpilotError
    return chosen(str(message["message"]), remedy=str(message["remedy"]))


def returned(answer: Mapping[str, Any], objects: ObjectStore) -> Any:
    """Return what an answer carries, or raise the error that it tells."""
    error = error_in(answer)
    if error is not None:
        raise error
    return unpack(answer, objects)


def _packed(value: Any) -> Any:
    if isinstance(value, ResourceClass):
        return msgpack.ExtType(_CLASS, msgpack.packb(value.to_wire()))
    if isinstance(value, Definition):
        return msgpack.ExtType(_DEFINITION, msgpack.packb(value.to_wire()))
    if isinstance(value, np.integer | np.floating | np.bool_):
        return value.item()
    ids = as_array(value).astype("<i8")
    return msgpack.ExtType(_IDS, zlib.compress(np.diff(ids, prepend=0).tobytes()))


def _unpacked(code: int, data: bytes) -> Any:
    if code == _CLASS:
        return ResourceClass.from_wire(msgpack.unpackb(data))
    if code == _DEFINITION:
        return Definition.from_wire(msgpack.unpackb(data))
    if code == _IDS:
        return np.cumsum(np.frombuffer(zlib.decompress(data), "<i8"), dtype=np.int64)
    raise ValueError(f"type {code} is unknown")
