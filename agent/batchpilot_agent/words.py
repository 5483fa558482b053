"""The words that a slot and the pilot say to each other in shared memory, without a message.

64 bytes a slot. Before each job the slot *announces* which it begins, and then looks at the
limit; the pilot sets the limit, and then looks at what is announced (Dekker's order). If both
cross a job can run here and elsewhere: its attempt tells.
"""

from __future__ import annotations

import mmap
import struct


WORDS = struct.Struct("<IIdIIIIQ")
"""serial, position, begun, limit, job, trouble, spare, spare."""

WORDS_SIZE = 64
NO_LIMIT = 0xFFFFFFFF

_SERIAL, _POSITION, _LIMIT, _JOB, _TROUBLE = 0, 1, 4, 5, 6
_BEGUN = 1


class Words:
    """Speak one slot's words.

    Args:
        shared: Memory shared with the pilot.
        slot: Number of the slot.
    """

    def __init__(self, shared: mmap.mmap, slot: int) -> None:
        words = memoryview(shared)[slot * WORDS_SIZE : (slot + 1) * WORDS_SIZE]
        self._ints = words.cast("I")
        self._floats = words.cast("d")

    def announce(self, serial: int, position: int, begun: float, job: int) -> int:
        """Say that the job at a position (from 0) is about to begin; return the limit."""
        ints = self._ints
        ints[_SERIAL] = serial
        ints[_JOB] = job
        self._floats[_BEGUN] = begun
        ints[_POSITION] = position + 1
        return ints[_LIMIT]

    def idle(self) -> None:
        """Say that nothing runs."""
        self._ints[_POSITION] = 0

    def trouble(self, waits: bool) -> None:
        """Say whether a record waits for space on the disk."""
        self._ints[_TROUBLE] = waits
