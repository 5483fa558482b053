"""Who owns a registry: one host, and on it one coordinator in office, numbered by its term.

`owner.json` is for everybody to read (which host, which database, is the heart beating); the
database's own `meta` decides. A new coordinator takes office in a transaction: it raises the
term, and from then on every transaction and every broker script of its predecessor fails. On the
same host a predecessor that lives is never replaced; a pid alone proves nothing, its start time
and the boot must match.

A beat is written into the very file that the owner made: where another host has replaced it, the
beat of one that wakes goes nowhere.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from batchpilot.errors import (
    AlreadyOwned,
    OwnershipLost,
    RegistryDamaged,
    RegistryMissing,
    StorageError,
)
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import (
    boot_id,
    file_system,
    host_name,
    is_alive,
    process_start,
)
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.shapes import NUMBER, Types, check

from .database import Database, number_of


BEAT_EVERY = 5.0


SILENT_AFTER = 75.0
"""Seconds after which an owner on another host counts as silent: two beats, and the time that a
network file system may take to show them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Hold what `owner.json` says.

    Attributes:
        id: The registry, for ever.
        instance: The registry in this place.
        host: Name of the owning host.
        boot: Its boot id when the coordinator took office.
        pid: The coordinator, 0 while none is in office.
        pid_start: Its start time.
        term: Its term.
        heartbeat: Unix time of its last beat.
        database: Name of the database in force.
        uid: User the instance belongs to.
        inode: Inode of the registry's directory when the instance was made, 0 where the file
            system has none that last.
        place: Path of the directory, where there is no such inode.
        key: Mark of the registry's secret, by which a damaged one is known.
        metrics: Address of its /metrics, "" for none.
    """

    id: str
    instance: str
    host: str
    boot: str = ""
    pid: int = 0
    pid_start: int = 0
    term: int = 1
    heartbeat: float = 0.0
    database: str = "registry-1.db"
    uid: int = -1
    inode: int = 0
    place: str = ""
    key: str = ""
    metrics: str = ""

    def with_key(self, mark: str) -> Owner:
        """Return the same with the mark of the registry's secret."""
        return replace(self, key=mark)

    @property
    def here(self) -> bool:
        """Tell whether this host owns the registry."""
        return self.host == host_name()

    @property
    def coordinator_alive(self) -> bool:
        """Tell whether the coordinator's process lives; known only on its own host."""
        return self.here and self.boot == boot_id() and is_alive(self.pid, self.pid_start)

    def beats_elsewhere(self, now: float) -> bool:
        """Tell whether a coordinator on another host has given a sign of life of late."""
        return not self.here and bool(self.pid) and now - self.heartbeat < SILENT_AFTER


def read_owner(paths: RegistryPaths) -> Owner:
    """Return what `owner.json` says.

    Raises:
        RegistryMissing: There is no registry.
        RegistryDamaged: The record lacks fields.
    """
    record = read_json(paths.owner)
    if record is None:
        raise RegistryMissing(
            f"no registry in {paths.root}", remedy="make one with bp.make_registry(...)"
        )
    known: dict[str, Any] = {k: record[k] for k in Owner.__dataclass_fields__ if k in record}
    try:
        check(known, _TYPES)
        return Owner(**known)
    except TypeError as error:
        raise RegistryDamaged(
            f"{paths.owner} is damaged: {error}", remedy="run `batchpilot repair`"
        ) from error


_TYPES: Types = {
    **dict.fromkeys(("id", "instance", "host", "boot", "database"), str),
    **dict.fromkeys(("place", "key", "metrics"), str),
    **dict.fromkeys(("pid", "pid_start", "term", "uid", "inode"), int),
    "heartbeat": NUMBER,
}


def write_owner(paths: RegistryPaths, owner: Owner) -> None:
    """Replace `owner.json`."""
    write_json(paths.owner, asdict(owner))


def seated(paths: RegistryPaths, owner: Owner) -> Owner:
    """Return an owner on this host, for the directory as it is found here.

    It is known again by its inode; on FUSE, which numbers files as it meets them and anew at each
    mount, by its path.
    """
    fuse = file_system(paths.root).startswith("fuse")
    return replace(
        owner,
        host=host_name(),
        uid=os.getuid(),
        inode=0 if fuse else paths.root.stat().st_ino,
        place=str(paths.root.resolve()) if fuse else "",
    )


class Heart:
    """Beat in the `owner.json` that was written here, and in no other's.

    Args:
        paths: The registry's files.
    """

    def __init__(self, paths: RegistryPaths) -> None:
        self._paths = paths
        self._fd = -1
        self._at = 0

    @property
    def ready(self) -> bool:
        """Tell whether a record was written here."""
        return self._fd >= 0

    def write(self, owner: Owner) -> None:
        """Replace the record, and keep the new file at hand."""
        self.close()
        write_owner(self._paths, owner)
        self._fd = os.open(self._paths.owner, os.O_RDWR | os.O_CLOEXEC)
        text = os.pread(self._fd, _MOST, 0)
        if json.loads(text) != asdict(owner):
            raise _lost(self._paths)
        self._at = text.index(_FIELD) + len(_FIELD)

    def beat(self, now: float) -> None:
        """Write the time of a beat over that of the last one."""
        try:
            os.pwrite(self._fd, f"{now:.3f}".encode(), self._at)
            os.fsync(self._fd)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._paths.owner}: {error.strerror}",
                remedy="check that the directory exists, is writable and has space",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


_FIELD = b'"heartbeat": '
_MOST = 1 << 16


def _moment() -> float:
    """Return the time, to be written with just three digits behind the point."""
    now = round(time.time(), 3)
    return now if f"{now:.3f}" == repr(now) else round(now + 0.001, 3)


def _lost(paths: RegistryPaths) -> OwnershipLost:
    return OwnershipLost(
        f"{paths.root} was taken over by {read_owner(paths).host}",
        remedy="nothing is to be done: that host goes on",
    )


class Office:
    """Hold the ownership of a registry for one coordinator.

    Args:
        paths: The registry's files.
        database: Its open database.
    """

    def __init__(self, paths: RegistryPaths, database: Database) -> None:
        self._paths = paths
        self._database = database
        self._heart = Heart(paths)
        self.owner = read_owner(paths)

    def take(self) -> int:
        """Take office in a new term and return it.

        Raises:
            AlreadyOwned: A coordinator is in office and alive.
        """
        with self._database.write() as tx:
            pid, start, boot = (
                tx.meta("owner_pid", 0),
                tx.meta("owner_start", 0),
                tx.meta("owner_boot"),
            )
            if boot == boot_id() and pid != os.getpid() and is_alive(pid, start):
                raise AlreadyOwned(
                    f"the coordinator of {self._paths.root} runs already as process {pid}",
                    remedy="stop it with `batchpilot coordinator stop`",
                )
            term = tx.meta("term") + 1
            tx.set_meta("term", term)
            tx.set_meta("owner_pid", os.getpid())
            tx.set_meta("owner_start", process_start(os.getpid()))
            tx.set_meta("owner_boot", boot_id())
        self._database.term = term
        self.owner = replace(
            read_owner(self._paths),
            host=host_name(),
            boot=boot_id(),
            pid=os.getpid(),
            pid_start=process_start(os.getpid()),
            term=term,
            database=self._database.path.name,
            metrics="",
        )
        self._say()
        return int(term)

    def beat(self, *, metrics: str | None = None) -> None:
        """Say in `owner.json` that the owner lives.

        Raises:
            OwnershipLost: Another host, or another coordinator, owns the registry now.
        """
        said = read_owner(self._paths)
        if number_of(said.database) > number_of(self.owner.database) or said.term > self.owner.term:
            raise _lost(self._paths)
        if metrics is not None:
            self.owner = replace(self.owner, metrics=metrics)
        same = replace(said, heartbeat=0.0) == replace(self.owner, heartbeat=0.0)
        if same and self._heart.ready:
            self.owner = replace(self.owner, heartbeat=_moment())
            self._heart.beat(self.owner.heartbeat)
        else:
            self._say()

    def leave(self) -> None:
        """Leave office; the host keeps the registry."""
        with self._database.write() as tx:
            tx.set_meta("owner_pid", 0)
        self.owner = replace(self.owner, pid=0, pid_start=0, metrics="")
        write_owner(self._paths, self.owner)
        self._heart.close()

    def _say(self) -> None:
        self.owner = replace(self.owner, heartbeat=_moment())
        self._heart.write(self.owner)
