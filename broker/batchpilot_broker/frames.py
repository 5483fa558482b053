"""Frames of segments: the records that make a job *finished*.

A segment is a file that only grows. Every record is one frame, written by one write(2):

    magic "bp" | kind u8 | flags u8 | length u32 | crc32 u32 | payload

little-endian; `length` counts the payload, the CRC covers kind, flags, length and payload. Frames
of kind ROW begin with the fixed `ROW`, which is the very row that events carry and the registry
keeps, so that applying an event and reading a dead agent's tail are one piece of code. A reader
that meets bytes that are no frame (a torn write on a full disk, a flipped bit) searches for the
next valid frame and reports the gap.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32


MAGIC = b"bp"
HEADER = struct.Struct("<2sBBII")
CHECKED = struct.Struct("<BBI")

ROW = struct.Struct("<IIBBHIddQfI")
"""job, attempt, outcome, reason, slot, log size, started, ended, log position, memory (MB), size
of the whole frame."""

EVENT_ROW_SIZE = 8 + ROW.size
"""A row in an event or in the registry: its frame's position (u64), then the `ROW`."""

ROW_FIELDS = (
    ("pos", "<u8"),
    ("job", "<u4"),
    ("attempt", "<u4"),
    ("outcome", "u1"),
    ("reason", "u1"),
    ("slot", "<u2"),
    ("log_size", "<u4"),
    ("started", "<f8"),
    ("ended", "<f8"),
    ("log_pos", "<u8"),
    ("memory", "<f4"),
    ("size", "<u4"),
)
"""An event row as the fields of a packed numpy dtype (`numpy.dtype(list(ROW_FIELDS))`)."""

LOG = struct.Struct("<IIQI")
"""job, attempt, position of the previous part (or NO_PART), number of this part; then the bytes."""

STARTED = struct.Struct("<QdH")
"""Payload of CHUNK_STARTED: chunk, unix time, slot."""

ENDED = struct.Struct("<QdI")
"""Payload of CHUNK_ENDED: chunk, seconds worked, jobs run."""

NO_PART = 0xFFFFFFFFFFFFFFFF
MAX_PAYLOAD = 0xFFFFFFFF


class Kind(IntEnum):
    """What a frame holds."""

    ROW = 1
    CHUNK_STARTED = 2
    CHUNK_ENDED = 3
    HANDED_BACK = 4
    LOG = 5
    REVOKED = 6
    FED = 7
    HEAD = 8


# Looked up once: a row is packed for each of a million jobs.
_ROW_KIND, _ROW_SIZE, _HEADER_SIZE = int(Kind.ROW), ROW.size, HEADER.size
_pack_row, _pack_header, _pack_checked = ROW.pack, HEADER.pack, CHECKED.pack


class Frame(NamedTuple):
    """Hold one frame found in a segment: where it starts, its kind, its payload."""

    pos: int
    kind: int
    payload: memoryview


def pack_frame(kind: int, *parts: bytes | memoryview) -> bytes:
    r"""Return the bytes of one frame whose payload is the parts end to end.

    Example:
        >>> pack_frame(Kind.CHUNK_ENDED, b"x")[:4]
        b'bp\x03\x00'
    """
    length = sum(map(len, parts))
    crc = crc32(CHECKED.pack(kind, 0, length))
    for part in parts:
        crc = crc32(part, crc)
    return b"".join((HEADER.pack(MAGIC, kind, 0, length, crc), *parts))


def pack_row(row: tuple[float, ...], body: bytes | memoryview) -> bytes:
    """Return the frame of one outcome; the last field of the row, its size, is filled in here."""
    length = _ROW_SIZE + len(body)
    head = _pack_row(*row, _HEADER_SIZE + length)
    crc = crc32(body, crc32(head, crc32(_pack_checked(_ROW_KIND, 0, length))))
    return b"".join((_pack_header(MAGIC, _ROW_KIND, 0, length, crc), head, body))


def frame_at(data: memoryview, offset: int, base: int = 0) -> Frame | None:
    """Return the valid frame that starts at offset, or None where there is none (yet)."""
    if len(data) - offset < HEADER.size:
        return None
    magic, kind, flags, length, crc = HEADER.unpack_from(data, offset)
    start = offset + HEADER.size
    if magic != MAGIC or length > len(data) - start:
        return None
    payload = data[start : start + length]
    if crc32(payload, crc32(CHECKED.pack(kind, flags, length))) != crc:
        return None
    return Frame(base + offset, kind, payload)


def scan(data: bytes | memoryview, base: int = 0) -> Iterator[Frame | tuple[int, int]]:
    """Yield each frame of a segment's bytes, and (from, to) for each damaged gap between frames.

    The bytes behind the last valid frame are not reported: they may be a record not yet complete.

    Args:
        data: Bytes of the segment, beginning at a frame.
        base: Position of the first byte in the file.
    """
    view = memoryview(data)
    offset = 0
    gap = None
    while offset < len(view):
        frame = frame_at(view, offset, base)
        if frame is None:
            gap = offset if gap is None else gap
            offset = _next_magic(view, offset + 1)
            continue
        if gap is not None:
            yield base + gap, base + offset
            gap = None
        yield frame
        offset += HEADER.size + len(frame.payload)


def _next_magic(view: memoryview, offset: int) -> int:
    step = 1 << 16
    while offset < len(view):
        found = bytes(view[offset : offset + step + 1]).find(MAGIC)
        if found >= 0:
            return offset + found
        offset += step
    return len(view)
