"""Repair: rebuild a registry's database from the newest valid copy and the segments.

Segments are the truth, so whatever was finished and is not in the copy is read from them:
tombstones and attempt marks of the coordinators first, then the records of the agents. Jobs go on
above the highest attempt ever seen, chunks above the highest number: agents may be at work still.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgpack
import numpy as np

from batchpilot_broker.frames import Kind
from batchpilot_broker.paths import RegistryPaths

from .errors import AlreadyOwned, RegistryDamaged, RegistryMissing, StorageError
from .store.adoption import move_database
from .store.changing import Applied, apply_rows, end_chunk, queue_again, stays_together
from .store.copying import copy_database
from .store.database import UNREADABLE, Database, Transaction
from .store.merged import PREFIX as MERGED
from .store.outcomes import locate
from .store.owner import read_owner
from .store.pages import ENDED_STATES, LIVE_STATES, Ids, State, ids_of, read_column
from .store.refounding import refound
from .store.replay import read_stretch, segment_of
from .store.soundness import contradictions


@dataclass(slots=True)
class Repaired:
    """Hold what a repair did.

    Attributes:
        source: Copy of the database it began with.
        before: Name of the database that was in force.
        refounded: Whether `owner.json` was lost, and the registry is another instance now.
        ended: Jobs whose end was read from segments.
        revoked: Jobs of the copy that were killed, reset or submitted again later.
        unknown: Jobs that ran for a submission the copy does not know; they are not submitted.
        gaps: Damaged stretches of segments that were skipped.
    """

    source: Path
    before: str = ""
    refounded: bool = False
    ended: int = 0
    revoked: int = 0
    unknown: int = 0
    gaps: int = 0


def repair(paths: RegistryPaths) -> Repaired:
    """Rebuild the database of a registry that nobody runs.

    Raises:
        AlreadyOwned: A coordinator is in office.
        RegistryDamaged: Neither the database nor a copy of it can be read.
    """
    try:
        owner, refounded = read_owner(paths), False
    except (RegistryDamaged, RegistryMissing, StorageError):
        owner, refounded = refound(paths), True
    if owner.coordinator_alive:
        raise AlreadyOwned(
            f"the coordinator of {paths.root} is running as process {owner.pid}",
            remedy="stop it first with `batchpilot coordinator stop`",
        )
    if owner.beats_elsewhere(time.time()):
        raise AlreadyOwned(
            f"the coordinator of {paths.root} is running on {owner.host}",
            remedy="stop it there first with `batchpilot coordinator stop`",
        )
    candidates = [path for path in _candidates(paths, owner.database) if is_sound(path)]
    sensible = (path for path in candidates if makes_sense(path, paths.segments))
    source = next(sensible, candidates[0] if candidates else None)
    if source is None:
        raise RegistryDamaged(
            f"neither the database of {paths.root} nor a backup can be read",
            remedy="the results are still in segments/; restore the directory from your own backup",
        )
    repaired = Repaired(source, before=owner.database, refounded=refounded)
    _put_in_place(paths, source, owner.term)
    database = Database(paths)
    try:
        _replay(database, repaired)
    finally:
        database.close()
    return repaired


def _candidates(paths: RegistryPaths, current: str) -> Iterator[Path]:
    yield paths.root / current
    yield from sorted(paths.backup.glob("registry-*.db"), reverse=True)


def makes_sense(path: Path, segments: Path) -> bool:
    """Tell whether what a sound database says of its jobs can be so."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return not contradictions(Transaction(connection), segments)
    except (RegistryDamaged, *UNREADABLE, LookupError, TypeError, ValueError):
        return False


def is_sound(path: Path) -> bool:
    """Tell whether a database is there and SQLite finds no damage in it."""
    if not path.exists():
        return False
    try:
        connection = sqlite3.connect(path)
        try:
            return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
        finally:
            connection.close()
    except UNREADABLE:
        return False


def _put_in_place(paths: RegistryPaths, source: Path, term: int) -> None:
    """Make a sound copy the database in force, under a new name: nobody writes to the old."""
    target = paths.database(term + 1)
    if source != target:
        copy_database(source, target)
    move_database(paths, target.name, term + 1)


def _replay(database: Database, repaired: Repaired) -> None:
    segments = sorted(database.paths.segments.glob("*.results"))
    own = [path for path in segments if path.name.startswith("coordinator-")]
    own.sort(key=lambda path: int(path.stem.rpartition("-")[2]))
    merged = [path for path in segments if path.name.startswith(MERGED)]
    with database.write() as tx:
        tx.set_meta("term", read_owner(database.paths).term)
        tx.set_meta("owner_pid", 0)
        chunk = max((_replay_marks(tx, path, repaired) for path in (*own, *merged)), default=0)
    for path in segments:
        with database.write() as tx:
            _replay_rows(tx, path, repaired)
    with database.write() as tx:
        _put_back(tx, repaired)
        tx.execute("skip_chunks", chunk)
        tx.execute("drop_chunk", chunk)


def _replay_marks(tx: Transaction, path: Path, repaired: Repaired) -> int:
    """Apply the tombstones and attempt marks of a coordinator or of a merge, in their order.

    Return the highest number of a chunk.
    """
    highest = 0
    stretch = read_stretch(path, 0)
    repaired.gaps += len(stretch.gaps)
    for kind, payload in stretch.notes:
        if kind == Kind.REVOKED:
            ranges, floor = msgpack.unpackb(payload)
            _revoke(tx, _known(tx, ranges), floor, repaired)
        elif kind == Kind.FED:
            chunk, ranges, attempt = msgpack.unpackb(payload)
            _mark(tx, _known(tx, ranges), attempt)
            highest = max(highest, chunk)
    return highest


def _known(tx: Transaction, ranges: list[list[int]]) -> Ids:
    ids = ids_of(np.array(ranges, np.int64))
    known: Ids = ids[ids <= tx.meta("last_job")]
    return known


def _revoke(tx: Transaction, ids: Ids, floor: int, repaired: Repaired) -> None:
    before = tx.pages.take("floor", ids)
    tx.pages.put("floor", ids, np.maximum(before, floor))
    states = tx.pages.take("state", ids)
    live = ids[np.isin(states, LIVE_STATES) & (before < floor)]  # killed since the copy was made
    tx.pages.put("state", live, State.DEFINED)
    tx.pages.put("submission", live, 0)
    repaired.revoked += len(live)
    ended = ids[np.isin(states, ENDED_STATES)]
    if len(ended):
        old = ended[locate(tx, ended)["attempt"] <= floor]
        tx.pages.put("state", old, State.DEFINED)
        tx.pages.put("outcome", old, 0)
        repaired.revoked += len(old)


def _mark(tx: Transaction, ids: Ids, attempt: int) -> None:
    """Note that jobs were handed out, so that their records count."""
    tx.pages.put("attempt", ids, np.maximum(tx.pages.take("attempt", ids), attempt))
    states = tx.pages.take("state", ids)
    tx.pages.put("state", ids[states == State.DEFINED], State.FED)


def _replay_rows(tx: Transaction, path: Path, repaired: Repaired) -> None:
    number, _ = segment_of(tx, path.name, path.stem)
    stretch = read_stretch(path, 0)
    repaired.gaps += len(stretch.gaps)
    applied = Applied()
    apply_rows(tx, number, stretch.rows, applied)
    tx.execute("move_segment", stretch.end, number)
    repaired.ended += sum(map(len, applied.ended))


def _put_back(tx: Transaction, repaired: Repaired) -> None:
    """Queue again what was handed out, as far as its submission is known."""
    states = read_column(tx.db, "state")
    live = np.flatnonzero(np.isin(states, LIVE_STATES)) + 1
    known = tx.pages.take("submission", live) > 0
    unknown = live[~known]
    tx.pages.put("state", unknown, State.DEFINED)
    repaired.unknown = len(unknown)
    for number, *_ in tx.all("all_chunks"):
        end_chunk(tx, number)
    tx.execute("forget_running")
    out = live[known]
    out = out[tx.pages.take("state", out) != State.QUEUED]
    for submission in np.unique(tx.pages.take("submission", out)).tolist():
        mine = out[tx.pages.take("submission", out) == submission]
        # nothing tells which of the user's chunks these were in
        queue_again(tx, mine, alone=stays_together(tx, submission))
