"""Read on in the agent's own result segment: what its slots have written since the last look.

The cost of a job here is part of the budget of every job, so whole frames are taken from one
buffer, in one loop, and bodies too large for it are stepped over unread. Where the bytes are no
frame (a write cut short by a full disk), the strict scan of `frames` finds where the records go
on; what it steps over is damaged and said to nobody as finished.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from batchpilot_broker.frames import HEADER, MAGIC, ROW, Frame, Kind, scan


BUFFER = 1 << 18
MAX_ROWS = 8192
_POSITION = struct.Struct("<Q")
_ROW_END = HEADER.size + ROW.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Hold what stands between two positions of a segment, as reports carry it.

    Attributes:
        start: Where the stretch begins.
        end: Where it ends.
        rows: Event rows, end to end.
        notes: (kind, payload) of the other frames.
        gaps: (from, to) of bytes that are no frames.
    """

    start: int
    end: int
    rows: bytes
    notes: tuple[tuple[int, bytes], ...]
    gaps: tuple[tuple[int, int], ...] = ()


class SegmentTail:
    """Walk along a growing segment, each frame once.

    Attributes:
        position: Behind the last frame that was read.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.position = 0

    @property
    def size(self) -> int:
        """Return the length of the file now."""
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Bring what has been written to the server of a network file system."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self) -> Stretch | None:
        """Return the next stretch of whole frames, None where there is none (yet)."""
        start = self.position
        data = os.pread(self._fd, BUFFER, start)
        rows: list[bytes] = []
        notes: list[tuple[int, bytes]] = []
        end, sound = _walk(data, start, rows, notes)
        if not sound:
            return self._resync()
        if end == start:
            end = self._step_over(data, start, rows, notes)
        if end == start:
            return None
        self.position = end
        return Stretch(start=start, end=end, rows=b"".join(rows), notes=tuple(notes))

    def _step_over(
        self, data: bytes, start: int, rows: list[bytes], notes: list[tuple[int, bytes]]
    ) -> int:
        """Take one frame larger than the buffer, once it and what follows are there."""
        if len(data) < BUFFER:
            return start
        _, kind, _, length, _ = HEADER.unpack_from(data)
        end: int = start + HEADER.size + length
        if end > self.size or os.pread(self._fd, len(MAGIC), end) not in (MAGIC, MAGIC[:1], b""):
            return start
        if kind == Kind.ROW:
            rows += (_POSITION.pack(start), data[HEADER.size : _ROW_END])
        else:
            notes.append((kind, os.pread(self._fd, length, start + HEADER.size)))
        return end

    def is_under_way(self, grown: int) -> bool:
        """Tell whether a frame larger than the buffer is being written.

        Args:
            grown: Bytes by which the file has grown since the last look.
        """
        head = os.pread(self._fd, HEADER.size, self.position)
        if grown < BUFFER or len(head) < HEADER.size:
            return False
        length: int = HEADER.unpack(head)[3]
        return self.size < self.position + HEADER.size + length

    def resync(self) -> Stretch | None:
        """Look strictly for the frames behind bytes that stay incomplete while the file grows."""
        return self._resync()

    def _resync(self) -> Stretch | None:
        start = self.position
        rows: list[bytes] = []
        notes: list[tuple[int, bytes]] = []
        gaps: list[tuple[int, int]] = []
        end = start
        for found in scan(os.pread(self._fd, self.size - start, start), start):
            if not isinstance(found, Frame):
                gaps.append(found)
                continue
            end = found.pos + HEADER.size + len(found.payload)
            if found.kind == Kind.ROW:
                rows += (_POSITION.pack(found.pos), bytes(found.payload[: ROW.size]))
            else:
                notes.append((found.kind, bytes(found.payload)))
        if end == start:
            return None
        self.position = end
        return Stretch(
            start=start, end=end, rows=b"".join(rows), notes=tuple(notes), gaps=tuple(gaps)
        )


def _walk(
    data: bytes, base: int, rows: list[bytes], notes: list[tuple[int, bytes]]
) -> tuple[int, bool]:
    """Collect whole frames; return the position behind them, and whether a frame may follow."""
    unpack, pack, add = HEADER.unpack_from, _POSITION.pack, rows.append
    at, size = 0, len(data) - HEADER.size
    last = 2 * MAX_ROWS
    while at <= size:
        magic, kind, _, length, crc = unpack(data, at)
        if magic != MAGIC:
            return base + at, False
        body = at + 12
        after = body + length
        payload = data[body:after]
        if len(payload) < length:
            break
        if crc32(payload, crc32(data[at + 2 : at + 8])) != crc:
            return base + at, False
        if kind == 1:
            add(pack(base + at))
            add(payload[:48])
            if len(rows) >= last:
                return base + after, True
        else:
            notes.append((kind, payload))
        at = after
    return base + at, True
