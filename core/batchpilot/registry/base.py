"""What all parts of a registry share: its files, its database, its secret, its description.

The parts themselves (defining, submitting, waiting, finding, tables, results, logs) are one class
a file, put together in
`batchpilot.registry.Registry`.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgpack

from batchpilot.asking import returned
from batchpilot.durations import duration
from batchpilot.elsewhere import Elsewhere
from batchpilot.errors import AlreadyOwned, ReadOnly, RegistryExists, RegistryMissing, StorageError
from batchpilot.store.database import Database, Transaction, create
from batchpilot.store.locks import locked
from batchpilot.store.owner import Owner, read_owner, seated, write_owner
from batchpilot.store.snapshots import Snapshot, last_copy, last_written, reading
from batchpilot_agent.objects import ObjectStore
from batchpilot_broker.access import key_mark
from batchpilot_broker.files import write_aside
from batchpilot_broker.host import host_name, on_network
from batchpilot_broker.paths import RegistryPaths


LONGEST_ROOT = 440
"""SQLite takes paths of 512 bytes; the longest of ours is that of a backup in the making."""

FOLLOW_EVERY = 1.0
"""Seconds between two looks whether the owner is another host now."""

LEAVING_PAUSE = 0.2


class RegistryBase:
    """Hold an open registry.

    Args:
        paths: The registry's files.
        writeable: Whether changing calls are allowed.
        why_read_only: What made it read-only, for the error that a changing call raises.
        database: Its database, where that is open already.
    """

    def __init__(
        self,
        paths: RegistryPaths,
        *,
        writeable: bool = True,
        why_read_only: str = "",
        database: Database | None = None,
    ) -> None:
        self.paths = paths
        self.writeable = writeable
        self._why_read_only = why_read_only
        owner = read_owner(paths)
        self._open = database or (Database(paths) if writeable and owner.here else reading(paths))
        self._follows = database is None
        self._former: list[Database] = []
        self._looked = time.monotonic()
        self._elsewhere: Elsewhere | None = None
        if isinstance(self._open, Snapshot):
            self._elsewhere = Elsewhere(paths, self._open)
            self._elsewhere.refresh()
        self.id = owner.id
        self.instance = owner.instance
        self.objects = ObjectStore(paths.objects)
        with self._db.read() as tx:
            self.seed = tx.entry("seed", int)
            self.kind = tx.entry("kind", str)
            self.work_dir = Path(tx.entry("work_dir", str))
            tx.entry("last_job", int)

    @property
    def file_dir(self) -> Path:
        """Return the registry's directory."""
        return self.paths.root

    @property
    def _db(self) -> Database:
        """Return the open database: where the coordinator has taken its seat, a snapshot."""
        now = time.monotonic()
        if now - self._looked > FOLLOW_EVERY:
            self._looked = now
            self._follow_seat()
        return self._open

    def _follow_seat(self, *, at_once: bool = False) -> None:
        """Ask the owner from now on, where this host was it until the coordinator took its seat.

        Args:
            at_once: Whether to do so though no copy shows yet all that is known here.
        """
        if self._elsewhere is not None or not self._follows or self._open.busy:
            return
        if not self.paths.seat.exists() or read_owner(self.paths).here:
            return
        if not at_once and last_copy(self.paths) < last_written(self._open.path):
            self.paths.looked.touch(0o600)
            return
        snapshot = Snapshot(self.paths)
        self._former.append(self._open)  # what has begun to read there may go on
        self._open, self._elsewhere = snapshot, Elsewhere(self.paths, snapshot)

    @property
    def database(self) -> Database:
        """Return the open database, for parts of batchpilot that are no methods of a registry."""
        return self._db

    def told_of_owner(self) -> str:
        """Return who owns the registry and what that means here; "" where this host does."""
        if self._elsewhere is None or not isinstance(self._open, Snapshot):
            return ""
        age = duration(max(0.0, time.time() - self._open.written))
        return (
            f"{self._elsewhere.host} owns {self.paths.root}: what you see here is a copy made "
            f"{age} ago, what you change is done by the coordinator there"
        )

    def close(self) -> None:
        """Close the database; the registry can be loaded again at any time."""
        for database in (self._open, *self._former):
            database.close()
        if self._elsewhere is not None:
            self._elsewhere.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[Transaction]:
        """Give a write transaction, or refuse where the registry is open for reading."""
        self._check_here()
        with self._db.write() as tx:
            yield tx

    def _check_here(self) -> None:
        """Refuse what only the host can do that owns the registry; where it has left, be that."""
        self._check_writeable()
        self._follow_seat(at_once=True)
        while self._elsewhere is not None and not read_owner(self.paths).pid:
            if self._elsewhere.await_word():
                time.sleep(LEAVING_PAUSE)  # its last word at the broker is seen for some seconds
            else:
                self._become_owner(self._elsewhere)
        if self._elsewhere is not None:
            raise ReadOnly(
                f"{self._elsewhere.host} owns {self.paths.root}, and only there this can be done",
                remedy=f"do it on {self._elsewhere.host}",
            )

    def _asked(
        self, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[bool, Any]:
        """Have the owner do something, if that is another host that lives.

        Returns:
            Whether it has done it, and what it returned.
        """
        self._check_writeable()
        self._follow_seat(at_once=True)
        request = secrets.token_hex(16)
        while self._elsewhere is not None:
            if self._elsewhere.await_word():
                done, answer = self._elsewhere.ask(request, verb, args, kwargs)
                if done:
                    return True, answer
            elif self._become_owner(self._elsewhere):
                return self._withdrawn(request)
        return False, None

    def _withdrawn(self, request: str) -> tuple[bool, Any]:
        """Let nobody carry out any more what was asked of a dead owner, if it was not yet."""
        with self._db.write() as tx:
            row = tx.execute("read_request", request).fetchone()
            if row is None:
                tx.execute("add_request", request, time.time(), msgpack.packb({}))
                return False, None
        return True, returned(msgpack.unpackb(row[0]), self.objects)

    def _left_to_owner(self) -> bool:
        """Tell whether another host sees to the jobs; one that is gone is taken over from."""
        if self._elsewhere is None:
            return False
        return self._elsewhere.lives() or not self._become_owner(self._elsewhere)

    def _become_owner(self, elsewhere: Elsewhere) -> bool:
        """Make this host the owner; tell whether no other one was faster."""
        try:
            elsewhere.take_over()
        except AlreadyOwned:
            return False
        snapshot, self._open = self._open, Database(self.paths)
        self._elsewhere = None
        snapshot.close()
        return True

    def _check_writeable(self) -> None:
        if not self.writeable:
            raise ReadOnly(
                f"{self.paths.root} is open for reading only ({self._why_read_only})",
                remedy="load it with bp.load_registry(...) where you may write",
            )

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Let no sweep take objects away between their storing and the commit that names them."""
        with locked(self.paths.objects, alone=False):
            yield

    def _setting(self, name: str, default: Any = None) -> Any:
        """Return an entry of the registry's description that is kept as JSON."""
        with self._db.read() as tx:
            stored = tx.meta(name)
        return default if stored is None else json.loads(stored)

    def _last_job(self, tx: Transaction) -> int:
        return int(tx.meta("last_job"))


def make_files(
    file_dir: str | os.PathLike[str] | None,
    *,
    seed: int | None,
    kind: str,
    work_dir: Path,
    settings: Mapping[str, Any] | None = None,
) -> RegistryPaths:
    """Make the directory of a new registry: whole, or nothing where it fails.

    Args:
        file_dir: Where; None for a temporary directory.
        seed: None to draw one.
        kind: What its jobs are made of.
        work_dir: Where its jobs run.
        settings: More entries of its description.

    Raises:
        RegistryExists: Something is there already.
        StorageError: The directory cannot be made.
    """
    root = Path(tempfile.mkdtemp(prefix="registry-")) if file_dir is None else Path(file_dir)
    root = root.expanduser().absolute()
    if file_dir is not None and os.path.lexists(root):
        raise RegistryExists(
            f"{root} exists",
            remedy="load it with bp.load_registry(...), or choose another directory",
        )
    if len(os.fsencode(root)) > LONGEST_ROOT:
        raise StorageError(
            f"the path is longer than {LONGEST_ROOT} bytes, which SQLite does not take: {root}",
            remedy="choose a shorter path",
        )
    build = root.with_name(f".{root.name}.{os.getpid()}.new") if file_dir is not None else root
    try:
        build.mkdir(mode=0o700, exist_ok=file_dir is None)
        described = {"seed": _drawn() if seed is None else seed, "kind": kind}
        _fill(RegistryPaths(build), {**described, "work_dir": str(work_dir), **(settings or {})})
        if build != root:
            build.rename(root)
    except OSError as error:
        raise StorageError(
            f"cannot make {root}: {error.strerror or error}", remedy="check the parent directory"
        ) from error
    finally:
        if build != root:
            shutil.rmtree(build, ignore_errors=True)  # what was made in vain
    return RegistryPaths(root)


def open_paths(file_dir: str | os.PathLike[str]) -> RegistryPaths:
    """Return the files of an existing registry.

    Raises:
        RegistryMissing: There is none.
    """
    root = Path(file_dir).expanduser().absolute()
    paths = RegistryPaths(root)
    if not paths.owner.exists():
        raise RegistryMissing(
            f"no registry in {root}",
            remedy="check the directory, or make one with bp.make_registry(...)",
        )
    return paths


def describe(tx: Transaction, entries: dict[str, Any]) -> None:
    """Write entries of the registry's description."""
    for key, value in entries.items():
        tx.set_meta(key, value)


def _drawn() -> int:
    return random.SystemRandom().randint(1, 32767)


def _fill(paths: RegistryPaths, entries: Mapping[str, Any]) -> None:
    for directory in (paths.objects, paths.segments, paths.allocations, paths.backup, paths.logs):
        directory.mkdir(mode=0o700)
    secret, registry = secrets.token_bytes(32), secrets.token_hex(8)
    write_aside(paths.secret, secret)
    create(paths.database(1), network=on_network(paths.root))
    write_owner(
        paths,
        seated(
            paths,
            Owner(
                id=registry,
                instance=secrets.token_hex(6),
                host=host_name(),
                key=key_mark(secret),
            ),
        ),
    )
    database = Database(paths)
    try:
        with database.write() as tx:
            describe(
                tx,
                {
                    **entries,
                    "id": registry,
                    "created": time.time(),
                    "last_job": 0,
                    "term": 1,
                    "stream": "0",
                },
            )
    finally:
        database.close()
