"""Copy slots' spools: the log of a job that still runs, or whose slot has died.

The slot moves a job's output to the log segment when the job ends. What the pilot copies before is
a chain of LOG frames of its own, replaced by the slot's in the job's row.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from batchpilot_agent.segments import SegmentWriter
from batchpilot_broker.frames import LOG, NO_PART, Kind, pack_frame

from .handles import SlotHandle
from .ledger import WriteStalled


PART_SIZE = 1 << 20
MOST_OF_A_DEAD_SLOT = 64 << 20


@dataclass(slots=True, kw_only=True)
class Copy:
    """Keep how far a job's spool is copied.

    Attributes:
        job: The job.
        attempt: Its attempt.
        offset: Bytes of the spool that are copied or passed over.
        last: Position of the last part, NO_PART before the first.
        parts: Parts written.
        size: Bytes written.
    """

    job: int
    attempt: int
    offset: int = 0
    last: int = NO_PART
    parts: int = 0
    size: int = 0


class Spools:
    """Copy spools to the log segment.

    Args:
        scratch: The agent's scratch directory.
        logs: The log segment.
    """

    def __init__(self, scratch: Path, logs: SegmentWriter) -> None:
        self._scratch = scratch
        self._logs = logs

    def path(self, slot: SlotHandle) -> Path:
        """Return the spool of a slot process."""
        return self._scratch / f"spool-{slot.number}-{slot.serial}"

    def copy(self, slot: SlotHandle, copy: Copy, most: int) -> bool:
        """Append what is new in a spool, at most the newest bytes; tell whether something was."""
        before = copy.size
        try:
            with self.path(slot).open("rb", buffering=0) as spool:
                self._copy(spool.fileno(), copy, most)
        except (FileNotFoundError, WriteStalled):
            return copy.size > before
        return copy.size > before

    def whole(self, slot: SlotHandle, job: int, attempt: int) -> tuple[int, int]:
        """Append the output of a dead slot's job; return the last part's position and all bytes."""
        copy = Copy(job=job, attempt=attempt)
        self.copy(slot, copy, MOST_OF_A_DEAD_SLOT)
        return copy.last, min(copy.size, 0xFFFFFFFF)

    def remove(self, slot: SlotHandle) -> None:
        """Delete the spool of a slot that has ended."""
        self.path(slot).unlink(missing_ok=True)

    def _copy(self, fd: int, copy: Copy, most: int) -> None:
        size = os.fstat(fd).st_size
        skipped = size - copy.offset - most
        if skipped > 0:
            self._append(copy, b"[batchpilot: %d bytes skipped]\n" % skipped)
            copy.offset += skipped
        while copy.offset < size:
            piece = os.pread(fd, min(PART_SIZE, size - copy.offset), copy.offset)
            if not piece:
                return
            self._append(copy, piece)
            copy.offset += len(piece)

    def _append(self, copy: Copy, piece: bytes) -> None:
        head = LOG.pack(copy.job, copy.attempt, copy.last, copy.parts)
        copy.last = self._logs.append(pack_frame(Kind.LOG, head, piece))
        copy.parts += 1
        copy.size += len(piece)
