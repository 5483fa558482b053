"""Read a segment from its first byte to its last, window by window, and count what is damaged."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from batchpilot_broker.frames import HEADER, MAGIC, Frame, scan


WINDOW = 8 << 20


@dataclass(slots=True)
class Soundness:
    """Hold how much of a segment can be read.

    Attributes:
        frames: Whole records.
        gaps: Damaged stretches between them.
        end: Where the last whole record ends.
        torn: Bytes behind it.
    """

    frames: int = 0
    gaps: int = 0
    end: int = 0
    torn: int = 0


def inspect_segment(path: Path, window: int = WINDOW) -> Soundness:
    """Return how sound a segment is.

    Args:
        path: The segment.
        window: Bytes to read at once; more where one record needs more.
    """
    found = Soundness()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = window
        while found.end < size:
            data = os.pread(file.fileno(), length, found.end)
            before = found.end
            _count(data, found)
            if found.end > before:
                length = window
            elif before + len(data) >= size:
                break
            else:
                length = max(2 * length, _claimed(data))
    found.torn = size - found.end
    return found


def _count(data: bytes, found: Soundness) -> None:
    for item in scan(data, found.end):
        if isinstance(item, Frame):
            found.frames += 1
            found.end = item.pos + HEADER.size + len(item.payload)
        else:
            found.gaps += 1


def _claimed(data: bytes) -> int:
    """Return the size that the record at the beginning claims to have, 0 where there is none."""
    if len(data) < HEADER.size:
        return 0
    magic, _, _, length, _ = HEADER.unpack_from(data)
    return HEADER.size + int(length) if magic == MAGIC else 0
