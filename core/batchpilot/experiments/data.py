"""Store the static data of a problem: its large buffers as objects of their own.

Agents map those from their files instead of unpickling them, so a data set is in memory once on
each machine. Equal content is stored once, whatever problems it belongs to.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import cloudpickle
import numpy as np

from batchpilot.functions import pickle_value
from batchpilot_agent.manifest import StoredData
from batchpilot_agent.objects import ObjectStore


LARGE_BUFFER = 65_536
"""Bytes from which on a buffer is an object of its own."""

_PROTOCOL = 5


def store_data(objects: ObjectStore, value: Any) -> StoredData:
    """Store a value and return where it is.

    Args:
        objects: The registry's objects.
        value: The data; arrays in it, and in its tables, will be read-only in jobs.

    Raises:
        CannotPickle: It cannot be sent; the message names the part that holds it back.
        StorageError: The registry cannot be written.
    """
    large: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        """Tell whether a buffer stays in the pickle."""
        data = buffer.raw()
        if data.nbytes > LARGE_BUFFER:
            large.append(data)
        return data.nbytes <= LARGE_BUFFER

    stream = io.BytesIO()
    try:
        _Pickler(stream, protocol=_PROTOCOL, buffer_callback=stays).dump(value)
    except Exception:  # a user's object may raise anything while it is pickled
        pickle_value(value, "the data of a problem")  # says which part of it
        raise
    return StoredData(objects.put(stream.getvalue()), tuple(map(objects.put, large)))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Give the buffer of every array away, a slice's too, which numpy copies into the pickle."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray and not obj.flags.forc and not obj.dtype.hasobject:
            return np.ascontiguousarray(obj).__reduce_ex__(_PROTOCOL)
        return super().reducer_override(obj)
