"""The words of all slots as the pilot sees them: it reads off jobs and sets limits, silently."""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

from batchpilot_agent.words import NO_LIMIT, WORDS, WORDS_SIZE


_LIMIT = struct.Struct("<I")
_LIMIT_AT = 16


class Word(NamedTuple):
    """Hold what a slot says of itself.

    Attributes:
        serial: Order it works on.
        position: 1 + the index in that order of the running job, 0 when idle.
        began: Unix time at which the running job began.
        limit: Index in the order at and behind which no job may start.
        job: Id of the running job.
        trouble: 1 while a record cannot be written.
    """

    serial: int
    position: int
    began: float
    limit: int
    job: int
    trouble: int


class Board:
    """Keep the words of a number of slots.

    Attributes:
        fd: The memory, for templates.
    """

    def __init__(self, slots: int) -> None:
        self.fd = os.memfd_create("batchpilot-words")
        os.ftruncate(self.fd, slots * WORDS_SIZE)
        self._map = mmap.mmap(self.fd, slots * WORDS_SIZE)

    def read(self, slot: int) -> Word:
        """Return what a slot says of itself."""
        return Word(*WORDS.unpack_from(self._map, slot * WORDS_SIZE)[:6])

    def clear(self, slot: int) -> None:
        """Forget all about a slot, and its limit."""
        WORDS.pack_into(self._map, slot * WORDS_SIZE, 0, 0, 0.0, NO_LIMIT, 0, 0, 0, 0)

    def limit(self, slot: int, index: int) -> None:
        """Let a slot start no job at or behind an index of its order."""
        _LIMIT.pack_into(self._map, slot * WORDS_SIZE + _LIMIT_AT, index)

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        os.close(self.fd)
