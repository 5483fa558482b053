"""Values on their way in and out: a job's parameters from their pickle, its result into one."""

from __future__ import annotations

import io
import pickle
from typing import Any

import cloudpickle

from batchpilot_agent.errors import CannotPickle
from batchpilot_agent.failures import message_of
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.segments import LARGEST_WRITE


LARGEST_RESULT = LARGEST_WRITE - 4096
"""Bytes of a pickled result that a record can hold: it is written by one call."""

LARGEST_KEPT = 32 << 20
"""Bytes of an object that are kept for the next job, which often has the same."""

_PLAIN = frozenset((int, float, str, bytes, bool, type(None)))
_PROTOCOL = 5
_loads, _dumps = pickle.loads, pickle.dumps


class ValueReader:
    """Unpickle the parameters of jobs; large values stand in them as hashes of objects."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._last: tuple[str, bytes] = ("", b"")

    def read(self, data: memoryview) -> tuple[Any, ...]:
        """Return a job's values."""
        try:
            values: tuple[Any, ...] = _loads(data)
        except pickle.UnpicklingError as error:
            if "persistent" not in str(error):
                raise
            return self._read_with_objects(data)
        return values

    def _read_with_objects(self, data: memoryview) -> tuple[Any, ...]:
        reader = pickle.Unpickler(io.BytesIO(data))  # noqa: S301 - came in a sealed chunk
        reader.persistent_load = self._object  # type: ignore[method-assign]  # its way
        values: tuple[Any, ...] = reader.load()
        return values

    def _object(self, reference: tuple[str, str]) -> Any:
        """Return a value of its own for each job, for it to change as it likes."""
        name = reference[1]
        data = self._last[1] if self._last[0] == name else self._store.get(name)
        self._last = (name, data) if len(data) <= LARGEST_KEPT else ("", b"")
        return _loads(data)


class ResultPickler:
    """Pickle results with one pickler: a new one for each costs more than a small job."""

    def __init__(self) -> None:
        self._begin()

    def dumps(self, value: Any) -> bytes:
        """Return the pickle of a result.

        Raises:
            CannotPickle: It cannot be pickled, or is too large for a record.
        """
        data = _dumps(value, _PROTOCOL) if type(value) in _PLAIN else self._dumps(value)
        if len(data) > LARGEST_RESULT:
            raise CannotPickle(
                f"result of {len(data):,} bytes is larger than a record can hold",
                remedy="write it to job.external_dir and return its path",
            )
        return data

    def _dumps(self, value: Any) -> bytes:
        try:
            self._pickler.dump(value)
            data = self._buffer.getvalue()
        except BaseException as error:
            self._begin()
            if not isinstance(error, Exception):
                raise
            raise CannotPickle(
                f"result of type {type(value).__name__} cannot be pickled: {message_of(error)}",
                remedy="return what can be, or write it to job.external_dir",
            ) from error
        self._again()
        return data

    def _begin(self) -> None:
        self._buffer = io.BytesIO()
        self._pickler = cloudpickle.Pickler(self._buffer, protocol=_PROTOCOL)

    def _again(self) -> None:
        self._pickler.clear_memo()
        self._pickler.globals_ref.clear()  # by id, and ids are used again
        self._buffer.seek(0)
        self._buffer.truncate()
