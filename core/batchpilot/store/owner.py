"""Who owns a registry: one host, and on it one coordinator in office, numbered by its term.

`owner.json` is for everybody to read (which host, which database, is the heart beating); the
database's own `meta` decides. A new coordinator takes office in a transaction: it raises the
term, and from then on every transaction and every broker script of its predecessor fails. On the
same host a predecessor that lives is never replaced; a pid alone proves nothing, its start time
and the boot must match.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from batchpilot.errors import AlreadyOwned, RegistryDamaged, RegistryMissing
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import boot_id, host_name, is_alive, process_start
from batchpilot_broker.paths import RegistryPaths

from .database import Database


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
        inode: Inode of the registry's directory when the instance was made.
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
    metrics: str = ""

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
        return Owner(**known)
    except TypeError as error:
        raise RegistryDamaged(
            f"{paths.owner} is damaged: {error}", remedy="run `batchpilot repair`"
        ) from error


def write_owner(paths: RegistryPaths, owner: Owner) -> None:
    """Replace `owner.json`."""
    write_json(paths.owner, asdict(owner))


class Office:
    """Hold the ownership of a registry for one coordinator.

    Args:
        paths: The registry's files.
        database: Its open database.
    """

    def __init__(self, paths: RegistryPaths, database: Database) -> None:
        self._paths = paths
        self._database = database
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
            self.owner,
            host=host_name(),
            boot=boot_id(),
            pid=os.getpid(),
            pid_start=process_start(os.getpid()),
            term=term,
            metrics="",
        )
        self.beat()
        return int(term)

    def beat(self, *, metrics: str | None = None) -> None:
        """Say in `owner.json` that the owner lives."""
        if metrics is not None:
            self.owner = replace(self.owner, metrics=metrics)
        self.owner = replace(self.owner, heartbeat=time.time())
        write_owner(self._paths, self.owner)

    def leave(self) -> None:
        """Leave office; the host keeps the registry."""
        with self._database.write() as tx:
            tx.set_meta("owner_pid", 0)
        self.owner = replace(self.owner, pid=0, pid_start=0, metrics="")
        write_owner(self._paths, self.owner)
