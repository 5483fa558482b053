"""What a job prints, at the level of file descriptors: Python, subprocesses and C alike.

Descriptors 1 and 2 of a slot are one file, its *spool*. After each job what has come is moved
from the spool to the log segment as LOG frames, byte for byte; while a job runs the pilot may
read the spool by name.

How a quiet job is seen to be quiet by four cheap calls: descriptors 1 and 2 share one open file
whose position is parked where no spool ever ends. A write moves it to the end of the file;
another file on the descriptor is not parked; a closed one cannot be asked. What was written by
way of `/dev/stdout`, which opens the file anew, shows in its size. Descriptor 0 is /dev/null,
opened with flags that nobody else uses.

C keeps what it prints to a file until much has come. Its stdout is told to pass whole lines on at
once, as Python's does, and is flushed when a job ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchpilot_agent.segments import SegmentWriter, high_fd
from batchpilot_broker.frames import LOG, NO_PART, Kind, pack_frame


PART_SIZE = 1 << 20
PARKED = 0x7FFF_BA7C
"""Position of a descriptor that nobody has used; below 2 GB, where any file system can seek to."""

_lseek, _CURRENT, _END = os.lseek, os.SEEK_CUR, os.SEEK_END
_fcntl, _GETFL = fcntl.fcntl, fcntl.F_GETFL
_STDIN_FLAGS = os.O_RDONLY | os.O_APPEND
_LARGEST_SIZE = 0xFFFFFFFF

_libc = ctypes.PyDLL(None)
_c_stdout = ctypes.c_void_p.in_dll(_libc, "stdout")
_flush_c = _libc.fflush
_LINE_BUFFERED = 1


class Spool:
    """Hold the file behind fds 1 and 2 of this process, and /dev/null behind fd 0.

    Args:
        path: The file, made here with mode 0600.

    Raises:
        FileExistsError: There is something of that name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._null = high_fd(os.open(os.devnull, _STDIN_FLAGS | os.O_CLOEXEC))
        new = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._out = high_fd(os.open(path, new, 0o600))
        self._in = high_fd(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        self._flags = fcntl.fcntl(self._null, fcntl.F_GETFL)

    def attach(self) -> None:
        """Put the spool on fds 1 and 2, nothing on fd 0."""
        os.lseek(self._out, PARKED, os.SEEK_SET)
        for fd, ours in ((0, self._null), (1, self._out), (2, self._out)):
            os.dup2(ours, fd)

    def is_quiet(self) -> bool:
        """Tell whether fds 0 to 2 are still ours and nothing has been written to the spool."""
        return self._are_parked() and _lseek(self._in, 0, _END) == 0

    def parts(self) -> Iterator[bytes]:
        """Yield what has come since the last `clear`, in pieces of at most 1 MiB."""
        end = os.lseek(self._in, 0, os.SEEK_END)
        offset = 0
        while offset < end:
            piece = os.pread(self._in, min(PART_SIZE, end - offset), offset)
            if not piece:
                return  # truncated meanwhile, by `> /dev/stderr` in a shell
            yield piece
            offset += len(piece)

    def clear(self) -> None:
        """Forget what has come, and give fds 0 to 2 their files again."""
        os.ftruncate(self._out, 0)
        os.lseek(self._out, PARKED, os.SEEK_SET)
        if not self._are_parked():
            self.attach()

    def give_back(self, log: int) -> None:
        """Put a file on fds 1 and 2, and into it what came after the last job's end."""
        with suppress(OSError):  # a job may have closed any of them
            for fd in (1, 2):
                os.dup2(log, fd)
            for piece in self.parts():
                os.write(log, piece)

    def close(self) -> None:
        """Close the file where it is not on fds 0 to 2."""
        for fd in (self._null, self._out, self._in):
            os.close(fd)

    def remove(self) -> None:
        """Delete the file; what it holds is in the log."""
        self.path.unlink(missing_ok=True)

    def _are_parked(self) -> bool:
        try:
            return (
                _lseek(1, 0, _CURRENT) == PARKED
                and _lseek(2, 0, _CURRENT) == PARKED
                and _fcntl(0, _GETFL) == self._flags
            )
        except OSError:
            return False  # closed, or a pipe now


class Streams:
    """Keep `sys.stdin`, `sys.stdout` and `sys.stderr` of a slot, and give them back to it."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Put new streams on fds 0 to 2."""
        self._stdin = _reader(0)
        self._stdout, self._stderr = _writer(1), _writer(2)
        self._flush_out, self._flush_err = self._stdout.flush, self._stderr.flush
        sys.stdin = sys.__stdin__ = self._stdin  # type: ignore[misc]  # final, but only in theory
        sys.stdout = sys.__stdout__ = self._stdout  # type: ignore[misc]  # as above
        sys.stderr = sys.__stderr__ = self._stderr  # type: ignore[misc]  # as above

    def settle(self) -> bool:
        """Flush ours and put them back in their place; False where one is closed or stuck."""
        try:
            stuck = _flush_c(_c_stdout)
            self._flush_out()
            self._flush_err()
        except (ValueError, OSError):
            return False
        if stuck:
            return False
        if sys.stdout is not self._stdout:
            sys.stdout = self._stdout
        if sys.stderr is not self._stderr:
            sys.stderr = self._stderr
        if sys.stdin is not self._stdin:
            sys.stdin = self._stdin
        return not self._stdin.closed


class Capture:
    """Take each job's output from this process, and leave descriptors and streams as they were.

    Args:
        spool: The spool of this slot.
        segment: The log segment.
    """

    def __init__(self, spool: Spool, segment: SegmentWriter) -> None:
        self._spool = spool
        self._segment = segment
        self._before = (sys.stdin, sys.stdout, sys.stderr)
        self._originals = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        spool.attach()
        _libc.setvbuf(_c_stdout, None, _LINE_BUFFERED, 0)
        self._streams = Streams()

    def take(self, job: int, attempt: int) -> tuple[int, int]:
        """Move a job's output to the log; return (position of its last part, bytes in all)."""
        settled = self._streams.settle()
        if settled and self._spool.is_quiet():
            return NO_PART, 0
        if not settled:
            self._spool.attach()
            self._streams.settle()  # what was stuck goes to the spool now
            self._streams.renew()
        taken = self._record(job, attempt)
        self._spool.clear()
        return taken

    def release(self) -> None:
        """Put back the streams that were there before; fds 0 to 2 are the caller's business."""
        self._streams.settle()
        sys.stdin, sys.stdout, sys.stderr = self._before
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = self._originals  # type: ignore[misc]  # as above
        self._spool.close()

    def _record(self, job: int, attempt: int) -> tuple[int, int]:
        position, size = NO_PART, 0
        for number, piece in enumerate(self._spool.parts()):
            head = LOG.pack(job, attempt, position, number)
            position = self._segment.append(pack_frame(Kind.LOG, head, piece))
            size += len(piece)
        return position, min(size, _LARGEST_SIZE)


def _reader(fd: int) -> io.TextIOWrapper[Any]:
    return io.TextIOWrapper(io.BufferedReader(io.FileIO(fd, closefd=False)), encoding="utf-8")


def _writer(fd: int) -> io.TextIOWrapper[Any]:
    """Return a stream that passes whole lines on at once: so they keep their order with C's."""
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(fd, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
