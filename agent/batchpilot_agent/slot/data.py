"""The static data of a problem: loaded once in the template, untouched for every job.

Its large buffers (arrays, columns of tables) are mapped from the files of `objects/`: read-only,
shared by all processes of a machine, and in memory once however many slots there are. Around them
are containers, and a job may change those; no other job must see it. So

* what nobody can change (None, numbers, text, bytes, tuples of them) is the same for all;
* else the first job of a process has what the template has loaded, and each later one its own,
  unpickled from the same stream over the same buffers;
* where the stream is larger than `LARGE_STREAM`, a new process is cheaper than that: the slot
  leaves after the job (`spent`), and the next one is forked from the template, where nobody has
  touched anything. In a process that stays all the same, such as the user's own, it is unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

from batchpilot_agent.errors import ImportFailed
from batchpilot_agent.manifest import StoredData
from batchpilot_agent.objects import ObjectStore


LARGE_STREAM = 256 << 10
"""Bytes of a pickle without its large buffers; to read so many takes about as long as to fork."""

_PLAIN = frozenset((int, float, complex, str, bytes, bool, type(None)))


class StaticData:
    """Give each job of this process the data of a problem as it was stored.

    Args:
        store: Where it is; all of it is read, and compared with its hashes, here.
        stored: Which objects it is.

    Raises:
        ObjectMissing: An object is not there.
        ObjectForged: An object is damaged.
    """

    def __init__(self, store: ObjectStore, stored: StoredData) -> None:
        self._store = store
        self._name = stored.stream
        self._stream: bytes | None = store.get(stored.stream)
        self._buffers = [store.view(name) for name in stored.buffers]
        self._large = len(self._stream) > LARGE_STREAM
        self._shared = False
        self._loaded: list[Any] = []

    def load(self) -> None:
        """Unpickle it for the first job of each process forked from this one.

        Raises:
            ImportFailed: It cannot be unpickled here.
        """
        value = load_pickle(self._stream or b"", self._buffers)
        self._loaded.append(value)
        self._shared = _cannot_change(value)
        if self._large:
            self._stream = None  # it is in memory once already, as the value

    def take(self) -> Any:
        """Return the data for one job to do with as it likes."""
        if self._shared:
            return self._loaded[0]
        if self._loaded:
            return self._loaded.pop()
        stream = self._store.get(self._name) if self._stream is None else self._stream
        return pickle.loads(stream, buffers=self._buffers)  # noqa: S301 - compared with its hash

    @property
    def spent(self) -> bool:
        """Tell whether a new process would have the data sooner than this one."""
        return self._large and not self._loaded


def load_pickle(data: bytes, buffers: Iterable[memoryview] = ()) -> Any:
    """Return the value of a pickle that was compared with its hash.

    Raises:
        ImportFailed: It does not load; `__cause__` is the user's error.
    """
    try:
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - its hash came sealed
    except BaseException as error:
        raise ImportFailed(
            f"the jobs' code cannot be loaded: {type(error).__name__}: {error}",
            remedy="make what it imports available on this node, then submit again",
        ) from error


def _cannot_change(value: Any) -> bool:
    kind = type(value)
    return kind in _PLAIN or (kind in (tuple, frozenset) and all(map(_cannot_change, value)))
