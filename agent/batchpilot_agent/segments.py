"""Append to segments: one write(2) per frame, or the frame again as a whole.

A frame that reached the kernel survives the process, so nothing is buffered here. A write that
fails or comes up short (disk full, quota, I/O error) leaves torn bytes that readers skip; the
whole frame is written again every second until it is in, because a result must not be lost to a
full disk. Many processes may append to one segment (O_APPEND).
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import msgpack

from batchpilot_broker.errors import StorageError
from batchpilot_broker.frames import Kind, pack_frame
from batchpilot_broker.nouns import PROTOCOL_MAJOR, PROTOCOL_MINOR

from .errors import SlotError


RETRY_SECONDS = 1.0
LARGEST_WRITE = 0x7FFFF000
"""Linux writes no more in one call; a larger frame could never be written whole."""

_HIGHEST_FD = 900
_PASSING = frozenset(
    (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EINTR, errno.EAGAIN)
)


def high_fd(fd: int) -> int:
    """Move a descriptor out of reach of jobs that count on small numbers; it is not inherited."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = _HIGHEST_FD if limit == resource.RLIM_INFINITY else min(_HIGHEST_FD, limit // 2)
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return moved


def create_segment(path: Path, agent: str, instance: str) -> None:
    """Make a segment that holds nothing but its HEAD.

    Raises:
        StorageError: It exists, or the directory takes no file.
    """
    head = {
        "version": [PROTOCOL_MAJOR, PROTOCOL_MINOR],
        "agent": agent,
        "instance": instance,
    }
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, pack_frame(Kind.HEAD, msgpack.packb(head)))
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageError(
            f"cannot make the segment {path}: {error.strerror}",
            remedy="check the registry's directory and its space; a segment's name is used once",
        ) from error


class SegmentWriter:
    """Append frames to one segment.

    Args:
        path: The segment; it exists.
        on_trouble: Told True when a frame cannot be written, False when it is in at last.
        sleep: Waits between two tries.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_trouble: Callable[[bool], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._fd = self._open()

    def _open(self) -> int:
        return high_fd(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def write(self, frame: bytes) -> None:
        """Append a frame; return when the kernel has all of it."""
        if not self._try(frame):
            self._on_trouble(True)
            while not self._try(frame):
                self._sleep(RETRY_SECONDS)
            self._on_trouble(False)

    def append(self, frame: bytes) -> int:
        """Append a frame and return its position in the segment."""
        self.write(frame)
        return os.lseek(self._fd, 0, os.SEEK_CUR) - len(frame)

    def close(self) -> None:
        """Close the segment."""
        os.close(self._fd)

    def _try(self, frame: bytes) -> bool:
        try:
            return os.write(self._fd, frame) == len(frame)
        except OSError as error:
            if error.errno == errno.EBADF:  # a job has closed what is not its own
                self._fd = self._open()
            elif error.errno not in _PASSING:
                raise SlotError(
                    f"cannot write {self._path}: {error.strerror}",
                    remedy="check the registry's directory",
                ) from error
            return False
