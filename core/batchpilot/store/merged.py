"""Records of one registry written anew into a segment of another.

A record says its attempt and where its log is, and both are others in the other registry; times,
memory and the body stay. What cannot be read is left out and told.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import msgpack
import numpy as np

from batchpilot.errors import StorageError
from batchpilot_agent.segments import create_segment
from batchpilot_broker.errors import BrokenFrame
from batchpilot_broker.frames import HEADER, LOG, NO_PART, ROW, Kind, pack_frame, pack_row
from batchpilot_broker.paths import RegistryPaths

from .changing import ROW_DTYPE, Rows
from .outcomes import Located
from .pages import Ids, ranges_of
from .records import Records


PREFIX = "merged-"
"""Beginning of the names of segments that hold what came from another registry."""

Read = TypeVar("Read", bound=bytes | memoryview)


@dataclass(slots=True)
class Copied:
    """Hold what came of copying records.

    Attributes:
        rows: Event rows of the copies.
        torn: Jobs whose record cannot be read: they were left out.
        logless: Jobs whose log cannot be read: they were copied without.
    """

    rows: bytearray = field(default_factory=bytearray)
    torn: list[int] = field(default_factory=list)
    logless: list[int] = field(default_factory=list)

    def rows_of(self, ids: Ids) -> Rows:
        """Return the event rows of some of the jobs."""
        rows = np.frombuffer(self.rows, ROW_DTYPE)
        mine: Rows = rows[np.isin(rows["job"], ids)]
        return mine


class MergedSegment:
    """Write a fresh segment and its log; use it in a `with`, at whose end it is gone or kept.

    Args:
        paths: The registry's files.
        instance: Its instance.

    Raises:
        StorageError: The directory takes no file.
    """

    def __init__(self, paths: RegistryPaths, instance: str) -> None:
        self.agent = f"{PREFIX}{secrets.token_hex(6)}"
        self._paths = (paths.results(self.agent), paths.job_logs(self.agent))
        for path in self._paths:
            create_segment(path, self.agent, instance)
        self._results, self._logs = (_Appending(path) for path in self._paths)
        self._kept = False

    @property
    def name(self) -> str:
        """Return the name of the segment in the database."""
        return self._paths[0].name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._results.close()
        self._logs.close()
        if not self._kept:
            for path in self._paths:
                path.unlink(missing_ok=True)

    def keep(self, *, kept: bool = True) -> None:
        """Say whether the segment is part of the registry now; else it goes away in the end."""
        self._kept = kept

    def copy(self, records: Records, located: Located, attempt: int) -> Copied:
        """Write the records and logs of jobs, front to back as they stand in the other registry.

        Args:
            records: Reads the other registry.
            located: Where its records are.
            attempt: Attempt of the copies.

        Raises:
            StorageError: This registry's directory cannot be written.
        """
        copied = Copied()
        places = list(located.places())
        for at in np.lexsort((located.ends["pos"], located.ends["segment"])).tolist():
            job, segment, end = places[at]
            body = _try(records.body, segment, job, int(end["pos"]), int(end["size"]))
            if body is None:
                copied.torn.append(job)
                continue
            log = _try(records.log, segment, job, int(end["log_pos"]))
            if log is None:
                copied.logless.append(job)
            copied.rows += self._write(job, attempt, end, bytes(body), log or b"")
        return copied

    def mark(self, ids: Ids, attempt: int) -> int:
        """Note that the records count, for `repair`; return the end of the segment."""
        note = msgpack.packb([0, ranges_of(ids).tolist(), attempt])
        self._results.append(pack_frame(Kind.FED, note))
        self._logs.flush()
        return self._results.flush()

    def _write(self, job: int, attempt: int, end: Any, body: bytes, log: bytes) -> bytes:
        """Write one record and its log and return its event row."""
        log_pos = NO_PART
        if log:
            head = LOG.pack(job, attempt, NO_PART, 0)
            log_pos = self._logs.append(pack_frame(Kind.LOG, head, log))
        facts = (job, attempt, int(end["outcome"]), int(end["reason"]), int(end["slot"]), len(log))
        times = (float(end["started"]), float(end["ended"]), log_pos, float(end["memory"]))
        frame = pack_row((*facts, *times), body)
        pos = self._results.append(frame)
        return pos.to_bytes(8, "little") + frame[HEADER.size : HEADER.size + ROW.size]


def _try(read: Callable[..., Read], segment: str | None, *place: int) -> Read | None:
    """Return what is read, None where the record is damaged or gone."""
    try:
        return None if segment is None else read(segment, *place)
    except (BrokenFrame, StorageError):
        return None


class _Appending:
    """Append to a file, buffered: a full disk is an error here, nobody waits for space."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("ab")

    def append(self, frame: bytes) -> int:
        """Append a frame and return its position."""
        try:
            self._file.write(frame)
            return self._file.tell() - len(frame)
        except OSError as error:
            raise self._trouble(error) from error

    def flush(self) -> int:
        """Hand all to the kernel and return the size of the file."""
        try:
            self._file.flush()
            return self._file.tell()
        except OSError as error:
            raise self._trouble(error) from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write {self._path}: {error.strerror}", remedy="check the space there"
        )
