"""Take a registry over whose owner, another host, is gone; and know when that may be done.

    owner.json has stood still for 30 s of this host's own clock (network file systems: 75 s), no
    session has written to the database, and nobody has begun to take over in that time
                                                              -> `Stillness`
    the broker does not show a coordinator                    -> whoever asks knows the broker
    registry-<n>.db is made, by one host alone                -> the claim
    the old database's files are copied into it               -> a zombie writes into a dead file
    owner.json names this host and the new database           -> it is taken

The highest number is in force: what a zombie that wakes may still put into `owner.json` is put
right by the next beat of the new owner.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from batchpilot.errors import AlreadyOwned, RegistryDamaged
from batchpilot_broker.host import on_network
from batchpilot_broker.paths import RegistryPaths

from .database import number_of
from .owner import BEAT_EVERY, read_owner, seated, write_owner
from .records import FS_LATENCY
from .snapshots import copy_files, stamps
from .statements import sql


STILL_SECONDS = 30.0

Mark = tuple[bytes, int, object]
"""`owner.json`, the number of the latest database, in force or in the making, and what changes when
somebody writes to that in force."""


class Stillness:
    """Measure by this host's clock for how long an owner has given no sign of life.

    Args:
        paths: The registry's files.
        monotonic: Gives seconds that never go back.

    Attributes:
        limit: Seconds that are enough.
        mark: What was last seen.
    """

    def __init__(
        self, paths: RegistryPaths, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._paths = paths
        self._monotonic = monotonic
        self.limit = FS_LATENCY + 2 * BEAT_EVERY if on_network(paths.root) else STILL_SECONDS
        self.mark = look(paths)
        self._since = monotonic()

    def seconds(self) -> float:
        """Return for how long nothing has moved; 0 where something just has."""
        mark = look(self._paths)
        if mark != self.mark:
            self.mark, self._since = mark, self._monotonic()
        return self._monotonic() - self._since

    @property
    def enough(self) -> bool:
        """Tell whether the owner has been silent for long enough to be taken over."""
        return self.seconds() >= self.limit


def look(paths: RegistryPaths) -> Mark:
    """Return what is another one when the owner beats, writes, or somebody takes over."""
    databases = (number_of(path.name) for path in paths.root.glob("registry-*.db"))
    written = stamps(paths.root / read_owner(paths).database)
    return paths.owner.read_bytes(), max(databases, default=0), written


def take_over(paths: RegistryPaths, mark: Mark) -> None:
    """Make this host the owner.

    Args:
        paths: The registry's files.
        mark: What has stood still. All who have seen the same claim the same number, so that one
            of them gets it; who comes later sees another mark.

    Raises:
        AlreadyOwned: Another host was faster, or the owner has moved after all.
        RegistryDamaged: The database cannot be copied.
    """
    before, highest, written = mark
    owner = read_owner(paths)
    number = max(owner.term, highest) + 1
    target = paths.database(number)
    _claim(paths, target)
    try:
        copy_files(paths.root / owner.database, target)
        _open_anew(target, number, network=on_network(paths.root))
    except (OSError, sqlite3.DatabaseError) as error:
        target.unlink(missing_ok=True)
        raise RegistryDamaged(
            f"the database of {paths.root} cannot be taken over from {owner.host}: {error}",
            remedy="wait until nothing runs there, then run `batchpilot repair`",
        ) from error
    if paths.owner.read_bytes() != before or stamps(paths.root / owner.database) != written:
        target.unlink()
        raise _too_late(paths)
    nobody = replace(owner, boot="", pid=0, pid_start=0, metrics="")
    write_owner(paths, seated(paths, replace(nobody, term=number, database=target.name)))


def _claim(paths: RegistryPaths, target: Path) -> None:
    """Make the new database's file: of several hosts that try, one succeeds."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise _too_late(paths) from error


def _open_anew(path: Path, term: int, *, network: bool) -> None:
    """Let nobody be in office, in a later term than the old owner's."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {'PERSIST' if network else 'WAL'}")
        connection.execute("BEGIN IMMEDIATE")
        stored = connection.execute(sql("get_meta"), ("term",)).fetchone()
        connection.execute(sql("set_meta"), ("term", max(term, int(stored[0]) + 1)))
        connection.execute(sql("set_meta"), ("owner_pid", 0))
        connection.execute("COMMIT")


def _too_late(paths: RegistryPaths) -> AlreadyOwned:
    return AlreadyOwned(
        f"another host is taking {paths.root} over, or its owner lives after all",
        remedy="load it again",
    )
