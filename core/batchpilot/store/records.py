"""Read records of segments by file and place, each checked against its CRC before it is used.

Segments are read in windows with pread, not mapped: a file cut short by its server is then an
error and no crash. On a network file system a record can be visible later than the event that
tells of it; a reader that finds one short re-opens the file (which makes the client ask the
server) for up to `FS_LATENCY` seconds.
"""

from __future__ import annotations

import os
import struct
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from zlib import crc32

from batchpilot.errors import StorageError
from batchpilot_broker.errors import BrokenFrame
from batchpilot_broker.frames import HEADER, LOG, MAGIC, NO_PART, ROW, Frame, Kind, frame_at
from batchpilot_broker.host import on_network
from batchpilot_broker.paths import RegistryPaths

from .database import Database


FS_LATENCY = 65.0
_PAUSE = 0.5
_WINDOW = 1 << 20
_FILES_KEPT = 64

_BEGINNING = struct.Struct("<2sBBIII")
"""Header of a frame and the job of the row in it."""

_BODY = HEADER.size + ROW.size


class Records:
    """Read the records of one registry's segments; close it, or use it in a `with`.

    Args:
        paths: The registry's files.
        database: Where the host of a segment is looked up for errors.
        patience: Seconds to wait for a record that is not there yet; by default `FS_LATENCY`
            on network file systems, else 0.
    """

    def __init__(
        self, paths: RegistryPaths, database: Database, *, patience: float | None = None
    ) -> None:
        self._paths = paths
        self._database = database
        self._patience = patience
        self._files: OrderedDict[Path, _Window] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.popitem()[1].close()

    def body(self, segment: str, job: int, pos: int, size: int) -> memoryview:
        """Return the body of a job's record.

        Raises:
            StorageError: The segment cannot be read.
            BrokenFrame: The record is torn or damaged, or is another job's.
        """
        path = self._paths.segments / segment
        frame = self._frame(path, pos, size)
        if frame.kind != Kind.ROW or ROW.unpack_from(frame.payload)[0] != job:
            raise self._broken(path, pos, f"is not the record of job {job}")
        return frame.payload[ROW.size :]

    def bodies(
        self, segment: str, jobs: Sequence[int], positions: Sequence[int], sizes: Sequence[int]
    ) -> list[bytes]:
        """Return the bodies of many records, best in the order in which they stand in the file.

        Raises:
            StorageError: The segment cannot be read.
            BrokenFrame: A record is torn or damaged, or is another job's.
        """
        window = self._window(self._paths.segments / segment)
        out: list[bytes] = []
        for job, pos, size in zip(jobs, positions, sizes, strict=True):
            data, start = window.stretch(pos, size)
            body = _checked_body(data, start, size, job)
            if body is None:
                body = bytes(self.body(segment, job, pos, size))
                window = self._window(self._paths.segments / segment)
            out.append(body)
        return out

    def log(self, segment: str, job: int, pos: int) -> bytes:
        """Return the output of a job, given the place of its last part.

        Args:
            segment: The result segment of the agent that ran it.
            job: The job.
            pos: Where its last part is in the log segment beside it.

        Raises:
            StorageError: The log cannot be read.
            BrokenFrame: A part is torn or damaged, or is another job's.
        """
        path = self._paths.log_of(segment)
        parts: list[bytes] = []
        before = None
        while pos != NO_PART:
            frame = self._frame(path, pos, None)
            owner, _, previous, number = LOG.unpack_from(frame.payload)
            if frame.kind != Kind.LOG or owner != job or (before is not None and number >= before):
                raise self._broken(path, pos, f"is not a part of the log of job {job}")
            parts.append(bytes(frame.payload[LOG.size :]))
            pos, before = previous, number
        return b"".join(reversed(parts))

    def _frame(self, path: Path, pos: int, size: int | None) -> Frame:
        """Return the valid frame at a place, waiting for it where files become visible late."""
        deadline: float | None = None
        while True:
            data = self._bytes(path, pos, size)
            frame = frame_at(data, 0, pos)
            if frame is not None:
                return frame
            if deadline is None:
                deadline = time.monotonic() + self._seconds()
            if time.monotonic() >= deadline:
                raise self._broken(path, pos, "is torn or damaged")
            self._forget(path)
            time.sleep(_PAUSE)

    def _bytes(self, path: Path, pos: int, size: int | None) -> memoryview:
        window = self._window(path)
        try:
            if size is None:
                head = window.read(pos, HEADER.size)
                size = HEADER.size
                if len(head) == HEADER.size:
                    size += HEADER.unpack(head)[3]
            return window.read(pos, size)
        except OSError as error:
            raise self._unreadable(path, error) from error

    def _window(self, path: Path) -> _Window:
        window = self._files.get(path)
        if window is not None:
            return window
        try:
            window = self._files[path] = _Window(path)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if len(self._files) > _FILES_KEPT:
            self._files.popitem(last=False)[1].close()
        return window

    def _forget(self, path: Path) -> None:
        window = self._files.pop(path, None)
        if window is not None:
            window.close()

    def _seconds(self) -> float:
        if self._patience is None:
            self._patience = FS_LATENCY if on_network(self._paths.segments) else 0.0
        return self._patience

    def _written_by(self, path: Path) -> str:
        with self._database.read() as tx:
            name = path.with_suffix(".results").name
            row = tx.execute("segment_host", name).fetchone()
        return f" (written on {row[0]})" if row else ""

    def _unreadable(self, path: Path, error: OSError) -> StorageError:
        return StorageError(
            f"cannot read {path}{self._written_by(path)}: {error.strerror or error}",
            remedy="check that the registry's directory is whole and readable here",
            path=str(path),
        )

    def _broken(self, path: Path, pos: int, what: str) -> BrokenFrame:
        return BrokenFrame(
            f"the record at byte {pos} of {path}{self._written_by(path)} {what}",
            remedy="submit the job again; `batchpilot repair` tells what else is damaged",
            path=str(path),
        )


def _checked_body(data: bytes, start: int, size: int, job: int) -> bytes | None:
    """Return the body of a valid record of a job; what `frame_at` checks, as fast as it goes."""
    end = start + size
    if end > len(data) or size < _BODY:
        return None
    magic, kind, _, length, crc, owner = _BEGINNING.unpack_from(data, start)
    checked = crc32(data[start + HEADER.size : end], crc32(data[start + 2 : start + 8]))
    if checked != crc or owner != job or length != size - HEADER.size:
        return None
    return data[start + _BODY : end] if magic == MAGIC and kind == Kind.ROW else None


class _Window:
    """Read a file through one stretch kept in memory, made for places that mostly go up."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._start = 0
        self._data = b""
        self._used = False

    def read(self, pos: int, size: int) -> memoryview:
        """Return up to size bytes at a place; fewer where the file is shorter."""
        data, start = self.stretch(pos, size)
        return memoryview(data)[start : start + size]

    def stretch(self, pos: int, size: int) -> tuple[bytes, int]:
        """Return bytes that hold those at a place, and where in them they begin."""
        start = pos - self._start
        if start < 0 or start + size > len(self._data):
            # the first read of a file takes what is asked, the next ones what is likely to come
            ahead = max(size, _WINDOW) if self._used else size
            self._start, self._data, self._used = pos, self._pread(pos, ahead), True
            start = 0
        return self._data, start

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _pread(self, pos: int, size: int) -> bytes:
        data = os.pread(self._fd, size, pos)
        if len(data) in (0, size):
            return data
        parts = [data]
        while len(data) and size > sum(map(len, parts)):
            data = os.pread(self._fd, size - sum(map(len, parts)), pos + sum(map(len, parts)))
            parts.append(data)
        return b"".join(parts)
