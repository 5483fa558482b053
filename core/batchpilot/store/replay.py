"""Read a stretch of a result segment: what an event would have said, from the truth itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batchpilot_broker.frames import HEADER, ROW, Frame, Kind, scan

from .changing import ROW_DTYPE, Rows
from .database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Hold what stands between two offsets of a segment.

    Attributes:
        rows: Event rows.
        notes: (kind, payload) of the other frames, in order.
        end: Offset behind the last whole frame.
        gaps: Damaged stretches (from, to) that no frame covers.
    """

    rows: Rows
    notes: tuple[tuple[int, bytes], ...]
    end: int
    gaps: tuple[tuple[int, int], ...]


def read_stretch(path: Path, start: int, end: int | None = None) -> Stretch:
    """Return the frames of a segment from start to end, or to its last whole frame.

    A missing file is an empty one: its agent died before it wrote anything.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read() if end is None else file.read(max(0, end - start))
    except FileNotFoundError:
        data = b""
    rows: list[bytes] = []
    notes: list[tuple[int, bytes]] = []
    gaps: list[tuple[int, int]] = []
    upto = start
    for found in scan(data, start):
        if not isinstance(found, Frame):
            gaps.append(found)
            continue
        upto = found.pos + HEADER.size + len(found.payload)
        if found.kind == Kind.ROW:
            rows.append(found.pos.to_bytes(8, "little") + bytes(found.payload[: ROW.size]))
        else:
            notes.append((found.kind, bytes(found.payload)))
    return Stretch(
        rows=np.frombuffer(b"".join(rows), ROW_DTYPE),
        notes=tuple(notes),
        end=upto,
        gaps=tuple(gaps),
    )


def segment_of(tx: Transaction, name: str, agent: str) -> tuple[int, int]:
    """Return (number, applied) of a segment, noting it when it is new."""
    row = tx.execute("read_segment", name).fetchone()
    if row is None:
        return int(tx.execute("add_segment", name, agent).lastrowid or 0), 0
    return int(row[0]), int(row[1])
