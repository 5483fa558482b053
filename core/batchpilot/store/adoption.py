"""Whose is this directory: notice a registry that was copied, moved or given away.

    same inode, same user, recorded host    the registry itself, perhaps moved: nothing changes
    other inode or user, recorded host      a copy: it is adopted, that is, becomes another instance
    another host                            nobody can tell: asked for by `as_copy=True` or
    `batchpilot adopt`

A copy gets a new instance and a new secret and no broker, so that it never touches the original's
work; jobs that were handed out there are not submitted here.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchpilot_broker.access import key_mark
from batchpilot_broker.files import write_aside
from batchpilot_broker.host import host_name
from batchpilot_broker.paths import RegistryPaths

from .changing import revoke
from .database import Database, Transaction
from .outcomes import locate, segment_names
from .owner import Owner, read_owner, seated, write_owner
from .pages import ENDED_STATES, LIVE_STATES, Ids, read_column


class Place(StrEnum):
    """What a registry's directory is to the registry it says it is."""

    ITSELF = "itself"
    COPY = "copy"
    ELSEWHERE = "elsewhere"


def place_of(paths: RegistryPaths) -> Place:
    """Tell whether a directory is the registry itself, a copy, or owned by another host."""
    owner = read_owner(paths)
    if owner.host != host_name():
        return Place.ELSEWHERE
    here = seated(paths, owner)
    same = here.inode == owner.inode and paths.root.stat().st_uid == owner.uid
    return Place.ITSELF if same and not _stands_there_too(owner, here) else Place.COPY


def _stands_there_too(owner: Owner, here: Owner) -> bool:
    """Tell whether the registry is where it was made, too, and so is a copy here."""
    if owner.place == here.place:
        return False
    there = RegistryPaths(Path(owner.place))
    return there.owner.exists() and read_owner(there).instance == owner.instance


def adopt(paths: RegistryPaths) -> int:
    """Make a copy a registry of its own.

    Returns:
        Number of jobs that were handed out in the original and are not submitted here.
    """
    make_another(paths)
    database = Database(paths)
    try:
        return _take_back(database)
    finally:
        database.close()


def make_another(paths: RegistryPaths) -> None:
    """Make another instance of a registry: nothing said to or by the old one reaches it."""
    owner = read_owner(paths)
    paths.broker.unlink(missing_ok=True)
    paths.seat.unlink(missing_ok=True)
    secret = secrets.token_bytes(32)
    write_aside(paths.secret, secret)
    write_owner(
        paths,
        seated(
            paths,
            Owner(
                id=owner.id,
                instance=secrets.token_hex(6),
                host=host_name(),
                term=owner.term,
                database=owner.database,
                key=key_mark(secret),
            ),
        ),
    )


def _take_back(database: Database) -> int:
    """Forget the original's submissions that are under way, its agents and its pools."""
    with database.write() as tx:
        states = read_column(tx.db, "state")
        live = np.isin(states, LIVE_STATES)
        live[_not_copied(database.paths, tx, states) - 1] = True
        taken = np.flatnonzero(live) + 1
        revoke(tx, taken)
        for name in ("spans", "held", "gates", "again", "chunks", "running"):
            tx.execute(f"forget_{name}")
        tx.execute("forget_cancels")
        tx.execute("forget_agents")
        tx.execute("forget_elements")
        tx.execute("forget_allocations")
        tx.set_meta("pools", None)
        tx.set_meta("launch_failures", None)
        tx.set_meta("owner_pid", 0)
        tx.set_meta("stream", "0")
    return len(taken)


def _not_copied(paths: RegistryPaths, tx: Transaction, states: NDArray[np.uint8]) -> Ids:
    """Return the ended jobs whose records the copy lacks: segments grew between two files."""
    ended = np.flatnonzero(np.isin(states, ENDED_STATES)) + 1
    ends = locate(tx, ended)
    sizes = np.zeros(int(ends["segment"].max(initial=0)) + 1, np.int64)
    for number, name in segment_names(tx).items():
        path = paths.segments / name
        if number < len(sizes) and path.exists():
            sizes[number] = path.stat().st_size
    lacking: Ids = ended[(ends["pos"] + ends["size"]).astype(np.int64) > sizes[ends["segment"]]]
    return lacking


def move_database(paths: RegistryPaths, name: str, term: int) -> None:
    """Say in `owner.json` that another file is the database now, and this host its owner."""
    nobody = replace(read_owner(paths), pid=0, pid_start=0, metrics="")
    write_owner(paths, replace(nobody, host=host_name(), database=name, term=term))
