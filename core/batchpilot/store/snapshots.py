"""What another host reads of a registry: a copy of the database, never the database itself.

While a coordinator is in office it writes `snapshot.db` aside when somebody looks; where none is,
nobody writes, and the database's own files are copied. The copy is brought to local disk in one
go and read there: what a network file system does to a file meanwhile cannot tear it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from batchpilot.errors import RegistryDamaged, StorageError
from batchpilot_broker.files import read_json
from batchpilot_broker.host import host_name, on_network
from batchpilot_broker.paths import RegistryPaths

from .copying import copy_database
from .database import Database, Transaction
from .records import FS_LATENCY


LOOK_EVERY = 0.5
SEEN_WITHIN = FS_LATENCY + 15.0
"""Seconds within which a change is in the snapshot, and this host sees it."""

WHOLE_WITHIN = 5.0
"""Seconds within which a copy is whole where no file system is late with it."""

_TRIES = 20
_PAUSE = 0.1
_COMPANIONS = ("-journal", "-wal")


def write_snapshot(database: Database) -> None:
    """Write the copy that other hosts read.

    Raises:
        StorageError: The disk is full or failing.
    """
    copy_database(database.path, database.paths.snapshot)


def reading(paths: RegistryPaths) -> Database:
    """Open a registry for reading: the database on the owner's host, a snapshot elsewhere."""
    owner = read_json(paths.owner) or {}
    if owner.get("host", host_name()) == host_name():
        return Database(paths, writeable=False)
    return Snapshot(paths)


class Snapshot(Database):
    """Read a registry that another host owns; what is new there is found by looking again.

    Args:
        paths: The registry's files.

    Attributes:
        ask: Told at every look, to let the owner know that somebody looks.
    """

    def __init__(self, paths: RegistryPaths) -> None:
        self.ask: Callable[[], None] = lambda: None
        self._mark: object = None
        self._looked = 0.0
        self._version = 0
        self._written = 0.0
        self._expected: set[str] = set()
        super().__init__(paths, writeable=False)

    @property
    def written(self) -> float:
        """Return the Unix time at which what is read was written."""
        return self._written

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a view of the registry that holds all that this session has changed."""
        with self._lock:
            if not self._connection.in_transaction:
                self._look()
                self._await_expected()
            with super().read() as tx:
                yield tx

    def data_version(self) -> int:
        """Return a number that changes when a newer snapshot was found."""
        with self._lock:
            if not self._connection.in_transaction:
                self._look()
            return self._version

    def expect(self, request: str) -> None:
        """Let nobody read before a request's change is seen."""
        self._expected.add(request)

    def answer_to(self, request: str) -> bytes | None:
        """Return the answer that the registry keeps to a request of late, None without one."""
        with super().read() as tx:
            row = tx.execute("read_request", request).fetchone()
        return None if row is None else bytes(row[0])

    def renew(self) -> None:
        """Look now, however short ago the last look was."""
        self._looked = 0.0
        self._look()

    def back_up(self, stamp: int) -> None:
        """Leave that to the owner: its coordinator backs up what it was asked to define."""

    def _find(self) -> Path:
        return _source(self.paths)[0]

    def _look(self) -> None:
        """Read the snapshot again where there is another one, and none of before.

        A coordinator that has just taken office has no copy yet that is younger than the database.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        self.ask()
        path, mark = _source(self.paths)
        if mark != self._mark and last_written(path) >= self._written:
            old, self._connection = self._connection, self._open()
            old.close()

    def _await_expected(self) -> None:
        deadline = time.monotonic() + SEEN_WITHIN
        while self._expected and time.monotonic() < deadline:
            found = {r for r in self._expected if self.answer_to(r) is not None}
            self._expected -= found
            if self._expected:
                time.sleep(_PAUSE)
                self._looked = 0.0
                self._look()
        if self._expected:
            self._expected.clear()
            raise StorageError(
                f"what was changed on {self.paths.root} is not seen here after {SEEN_WITHIN:.0f} s",
                remedy="it is done; look again later, or see docs/filesystems.md",
            )

    def _open(self) -> sqlite3.Connection:
        """Bring the newest copy here and open it, as soon as it can be had whole."""
        patience = SEEN_WITHIN if on_network(self.paths.root) else WHOLE_WITHIN
        deadline = time.monotonic() + patience
        while True:
            path, mark = _source(self.paths)
            try:
                connection = _opened_copy(path)
            except (OSError, sqlite3.DatabaseError) as error:
                if time.monotonic() > deadline:
                    raise RegistryDamaged(
                        f"{path} cannot be read: {error}", remedy="run `batchpilot doctor`"
                    ) from error
                time.sleep(_PAUSE)
                continue
            self.path, self._mark = path, mark
            self._written = last_written(path)
            self._version += 1
            return connection


def _source(paths: RegistryPaths) -> tuple[Path, object]:
    """Return the file to read, and what is another one when that has changed."""
    owner = read_json(paths.owner) or {}
    database = paths.root / str(owner.get("database", ""))
    copies = [paths.snapshot, *paths.backup.glob("registry-*.db")] if owner.get("pid") else []
    written, path = max(((_stamp(copy)[0], copy) for copy in copies), default=(0, database))
    path = path if written else database
    return path, (path, *stamps(path))


def _opened_copy(path: Path) -> sqlite3.Connection:
    with tempfile.TemporaryDirectory(prefix="batchpilot-snapshot-") as folder:
        copy = Path(folder) / "snapshot.db"
        copy_files(path, copy)
        return sqlite3.connect(
            f"file:{copy}?mode=ro&immutable=1",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )


def copy_files(source: Path, target: Path) -> None:
    """Copy a database that nobody writes to, without locks, as after a crash of its writer.

    What was committed is in the copy, and nothing half: the writer's journal is copied too and
    played on the copy.

    Raises:
        OSError: It cannot be read or written, or it is being written to.
        sqlite3.DatabaseError: The copy is damaged.
    """
    for _ in range(_TRIES):
        before = stamps(source)
        for suffix in ("", *_COMPANIONS):
            _copy(Path(f"{source}{suffix}"), Path(f"{target}{suffix}"))
        if stamps(source) == before and _is_whole(target):
            break
        time.sleep(_PAUSE)
    else:
        raise BlockingIOError(f"{source} is being written to, or is not whole")
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")
        verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as old, target.open("wb") as new:
            os.fchmod(new.fileno(), 0o600)
            shutil.copyfileobj(old, new, 1 << 20)
    except FileNotFoundError:
        target.unlink(missing_ok=True)


def _is_whole(copy: Path) -> bool:
    """Tell whether a copy is as long as its head says; a cached size may have cut it short."""
    if not copy.exists():
        raise FileNotFoundError(f"there is no {copy.name}")
    if Path(f"{copy}-wal").exists():
        return True
    with copy.open("rb") as file:
        head = file.read(100)
    size = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    return copy.stat().st_size >= pages * (65536 if size == 1 else size)


def stamps(path: Path) -> list[tuple[int, int, int]]:
    """Return what is another one when a database has been written to."""
    return [_stamp(Path(f"{path}{suffix}")) for suffix in ("", *_COMPANIONS)]


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return time, inode and size of a file by opening it: that asks the server, not a cache."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, 0, 0
    try:
        stat = os.fstat(fd)
    finally:
        os.close(fd)
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def last_copy(paths: RegistryPaths) -> float:
    """Return the Unix time at which what another host reads was written."""
    return last_written(_source(paths)[0])


def last_written(path: Path) -> float:
    """Return the Unix time at which a database was last written."""
    return max(mtime for mtime, _, _ in stamps(path)) / 1e9
