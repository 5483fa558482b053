"""One connection to the registry's database, and transactions that cannot outlive the ownership.

Only processes on the owner's host open the database; others read `snapshots.Snapshot`. Each write
transaction begins IMMEDIATE and checks that `owner.json` names no later file; a coordinator's also
that the term in the file is its own. So a process that slept through a takeover fails in its next
transaction, and one that slept inside a transaction writes into a file nobody reads any more.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from batchpilot.errors import (
    OwnershipLost,
    RegistryBusy,
    RegistryDamaged,
    RegistryMissing,
    StorageError,
)
from batchpilot.notices import warn
from batchpilot_broker.files import read_json
from batchpilot_broker.host import host_name, on_network
from batchpilot_broker.paths import RegistryPaths

from .copying import copy_database
from .pages import Pages
from .statements import schema, sql


BUSY_SECONDS = 30.0
SCHEMA_VERSION = 1
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite's module raises where it cannot read: its words may be damaged, too."""

T = TypeVar("T")

OLD_SECONDS = 3600.0

_DAMAGED = (
    "malformed",
    "decode",
    "no such table",
    "no such column",
    "not a database",
    "has no column",
)


class Transaction:
    """Hold a transaction under way: the connection and the pages of job states."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.db = connection
        self.pages = Pages(connection)

    def execute(self, name: str, *values: Any) -> sqlite3.Cursor:
        """Run a named statement."""
        return self.db.execute(sql(name), values)

    def all(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a named statement."""
        return self.db.execute(sql(name), values).fetchall()

    def meta(self, key: str, default: Any = None) -> Any:
        """Return an entry of the registry's description."""
        row = self.db.execute(sql("get_meta"), (key,)).fetchone()
        return default if row is None else row[0]

    def entry(self, key: str, kind: type[T]) -> T:
        """Return an entry that every registry has; one that is gone, or of no such type, is damage.

        Raises:
            RegistryDamaged: It is.
        """
        found = self.meta(key)
        if not isinstance(found, kind):
            raise RegistryDamaged(
                f"the database has no readable {key}", remedy="run `batchpilot repair`"
            )
        return found

    def set_meta(self, key: str, value: Any) -> None:
        """Change an entry of the registry's description."""
        self.db.execute(sql("set_meta"), (key, value))


class Database:
    """Open the registry's database for reading, and for writing while this host owns it.

    Args:
        paths: The registry's files.
        path: The database; the file that `owner.json` names by default.
        writeable: Whether `write` may be used.
    """

    def __init__(
        self, paths: RegistryPaths, path: Path | None = None, *, writeable: bool = True
    ) -> None:
        self.paths = paths
        self.path = path or self._find()
        self.writeable = writeable
        self.term: int | None = None
        self._lock = threading.RLock()
        self._change: Transaction | None = None
        self._seen: tuple[int, int] | None = None
        self._cached = on_network(paths.root)
        self._connection = self._open()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a view of the database that does not change while it is used.

        Within a change, that is the change so far.
        """
        with self._lock:
            if self._change is not None:
                yield self._change
                return
            nested = self._connection.in_transaction
            if not nested:
                self._begin("BEGIN")
            try:
                yield Transaction(self._connection)
                if not nested:
                    self._connection.execute("COMMIT")
            except UNREADABLE as error:
                raise self._failure(error) from error
            finally:
                if not nested:
                    self._roll_back()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Give a transaction that is committed whole, or not at all where an exception leaves it.

        Within a change, that is the change under way: it is committed with that.

        Raises:
            OwnershipLost: The registry was taken over; nothing was written.
            RegistryBusy: Another process held the lock for 30 s.
            StorageError: The disk is full or failing.
            RegistryDamaged: The database holds what SQLite cannot read.
        """
        with self._lock:
            if self._change is not None:
                yield self._change
                return
            self._begin("BEGIN IMMEDIATE")
            try:
                self._check_owner()
                self._change = transaction = Transaction(self._connection)
                yield transaction
                transaction.pages.flush()
                self._connection.execute("COMMIT")
            except UNREADABLE as error:
                self._roll_back()
                raise self._failure(error) from error
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._change = None

    @property
    def busy(self) -> bool:
        """Tell whether a transaction is under way."""
        return self._connection.in_transaction

    def data_version(self) -> int:
        """Return a number that changes when another connection has changed the database."""
        with self._lock:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def changes(self) -> tuple[int, int]:
        """Return what is another one after each change, whoever made it."""
        return self.data_version(), self._connection.total_changes

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def back_up(self, stamp: int) -> None:
        """Copy the database to `backup/` and keep the two newest copies.

        Args:
            stamp: Nanoseconds since 1970, the copy's name; where the machine's clock was set
                back, the copy is named behind the newest all the same.
        """
        names = [path.stem.rpartition("-")[2] for path in self.paths.backup.glob("registry-*.db")]
        stamp = max(stamp, *(int(name) + 1 for name in names if name.isdigit()), 0)
        copy_database(self.path, self.paths.backup / f"registry-{stamp}.db")
        for old in sorted(self.paths.backup.glob("registry-*.db"))[:-2]:
            old.unlink(missing_ok=True)  # sessions do the same
        for left in self.paths.backup.glob(".registry-*.aside*"):  # of whom was killed over it
            if time.time() - left.stat().st_mtime > OLD_SECONDS:
                left.unlink(missing_ok=True)

    def _find(self) -> Path:
        owner = _owner(self.paths)
        if owner["host"] != host_name():
            raise OwnershipLost(
                f"{self.paths.root} is owned by host {owner['host']}",
                remedy="do it there, or load the registry again: it goes through that host then",
            )
        return self.paths.root / str(owner["database"])

    def try_to_back_up(self) -> None:
        """Do the same now; what was changed stays changed where there is no room for a copy."""
        try:
            self.back_up(time.time_ns())
        except StorageError as error:
            warn(f"all is done, but not backed up: {error}")

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise RegistryMissing(
                f"{self.paths.root} holds no database {self.path.name}",
                remedy="check the directory's name, or run `batchpilot repair`",
            )
        mode = "rw" if self.writeable else "ro"
        try:
            connection = sqlite3.connect(
                f"file:{_quoted(self.path)}?mode={mode}{self._unchanging()}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"{self.path} cannot be opened: {error}",
                remedy="check the rights there, and that the path is not too long",
            ) from error
        try:
            connection.execute("PRAGMA cache_size = -16384")
            if self._cached and self.writeable:
                _keep_journal(connection)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except UNREADABLE as error:
            connection.close()
            raise RegistryDamaged(
                f"{self.path} cannot be read: {error}", remedy="run `batchpilot repair`"
            ) from error
        if version != SCHEMA_VERSION:
            connection.close()
            raise RegistryDamaged(
                f"{self.path} has format {version}, this batchpilot reads {SCHEMA_VERSION}",
                remedy="use the batchpilot that wrote it",
            )
        return connection

    def _unchanging(self) -> str:
        """Return what lets SQLite read where it can make no file beside the database.

        Where its log is there, somebody may be writing, and SQLite must read that too.
        """
        log = self.path.with_name(f"{self.path.name}-wal")
        still = not self.writeable and not os.access(self.paths.root, os.W_OK) and not log.exists()
        return "&immutable=1" if still else ""

    def _begin(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except UNREADABLE as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.DatabaseError | UnicodeDecodeError) -> Exception:
        """Return what a failure of SQLite means: no disk, no lock, or no sound database."""
        words = str(error)
        plain = type(error) in UNREADABLE  # what is no disk and no lock either
        if plain or any(sign in words for sign in _DAMAGED):
            return RegistryDamaged(
                f"{self.path} is damaged: {error}", remedy="run `batchpilot repair`"
            )
        if isinstance(error, sqlite3.OperationalError):
            return self._storage_error(error)
        return error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _storage_error(self, error: sqlite3.OperationalError) -> Exception:
        if "locked" in str(error) or "busy" in str(error):
            return RegistryBusy(
                f"another process kept {self.path} locked for {BUSY_SECONDS:.0f} s",
                remedy="wait for the other session, or end it, then try again",
            )
        return StorageError(
            f"cannot write {self.path}: {error}", remedy="check the space and the rights there"
        )

    def _owner_if_readable(self) -> dict[str, Any] | None:
        """Return who owns; a coordinator in office writes a damaged record anew at its next beat.

        Nothing tells of a takeover there: whoever takes over puts a whole record in its place.
        """
        try:
            return _owner(self.paths)
        except (RegistryDamaged, StorageError):
            if self.term is None:
                raise
        return None

    def _check_owner(self) -> None:
        """Refuse to write where another host has taken the registry over.

        A session's look at `owner.json` is a fresh one also where the file system keeps old
        answers of `stat`; a coordinator has the broker's word besides.
        """
        try:
            stat = self.paths.owner.stat()
            seen = (stat.st_ino, stat.st_mtime_ns)
        except FileNotFoundError:
            seen = (0, 0)
        if seen != self._seen or (self._cached and self.term is None):
            owner = self._owner_if_readable()
            if owner is not None and number_of(owner["database"]) > number_of(self.path.name):
                raise OwnershipLost(
                    f"{self.paths.root} was taken over by {owner['host']}",
                    remedy="load the registry again",
                )
            self._seen = seen
        if self.term is not None:
            term = self._connection.execute(sql("get_meta"), ("term",)).fetchone()[0]
            if term != self.term:
                raise OwnershipLost(
                    f"a coordinator of term {term} has replaced this one of term {self.term}",
                    remedy="nothing is to be done: the new one goes on",
                )


def _keep_journal(connection: sqlite3.Connection) -> None:
    """Let the rollback journal be overwritten, not deleted: the cheapest on a network file system.

    A write-ahead log is noted in the database; other modes hold for one connection.
    """
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        connection.execute("PRAGMA journal_mode = PERSIST")


def number_of(name: str) -> int:
    """Return the number in a database's name: the later the takeover, the higher it is.

    Example:
        >>> number_of("registry-12.db")
        12
    """
    digits = name.removesuffix(".db").rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def create(path: Path, *, network: bool) -> None:
    """Make an empty database; a write-ahead log only where the file system is local.

    Raises:
        StorageError: The file cannot be written.
    """
    path.touch(0o600, exist_ok=False)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA journal_mode = {'PERSIST' if network else 'WAL'}")
        connection.executescript(schema())
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"cannot make {path}: {error}", remedy="check space and rights"
        ) from error
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _owner(paths: RegistryPaths) -> dict[str, Any]:
    owner = read_json(paths.owner)
    if owner is None:
        raise RegistryMissing(
            f"no registry in {paths.root}", remedy="make one with bp.make_registry(...)"
        )
    if not all(isinstance(owner.get(name), str) for name in ("host", "database")):
        raise RegistryDamaged(
            f"{paths.owner} does not name the database", remedy="run `batchpilot repair`"
        )
    return owner
