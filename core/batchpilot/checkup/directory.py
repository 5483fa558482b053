"""Checks of a registry's directory: place, rights, space, database, segments."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from batchpilot.durations import duration
from batchpilot.errors import RegistryError
from batchpilot.store.adoption import Place, place_of
from batchpilot.store.database import Transaction
from batchpilot.store.owner import read_owner
from batchpilot.store.snapshots import reading
from batchpilot.store.soundness import contradictions
from batchpilot_broker.access import key_mark, read_secret
from batchpilot_broker.errors import StorageError
from batchpilot_broker.host import file_system, on_network
from batchpilot_broker.paths import RegistryPaths

from .finding import Finding, bad, note, ok
from .soundness import Soundness, inspect_segment


SCARCE = 100 << 20
LITTLE = 1 << 30
DAMAGED = (RegistryError, sqlite3.DatabaseError)
_SHOWN = 3


def check_directory(paths: RegistryPaths) -> Iterator[Finding]:
    """Yield what is found in a registry's directory."""
    yield space(paths)
    yield _rights(paths)
    yield _place(paths)
    yield from _key(paths)
    yield from _database(paths)


def space(paths: RegistryPaths) -> Finding:
    """Tell whether the registry's disk has room."""
    disk = os.statvfs(paths.root)
    free = disk.f_bavail * disk.f_frsize
    text = f"{free / LITTLE:.1f} GB free"
    if disk.f_files and not disk.f_favail:
        return bad("space", f"{text}, but no file can be added", "remove files, or ask for more")
    if free < SCARCE:
        return bad("space", text, "make space: agents wait while nothing can be written")
    return ok("space", text) if free >= LITTLE else note("space", text, "make space in time")


def _rights(paths: RegistryPaths) -> Finding:
    """Compare rights with 0700 for directories and 0600 for files; the root guards all within."""
    named = [paths.secret, paths.broker, paths.owner, *paths.root.glob("registry-*.db")]
    rooms = [paths.root, paths.objects, paths.segments, paths.backup, paths.logs]
    there = [path for path in (*rooms, *named) if path.exists()]
    open_ = [path for path in there if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_:
        names = ", ".join(path.name for path in open_[:_SHOWN])
        return bad("rights", f"others may look into {names}", f"chmod -R go-rwx {paths.root}")
    if not os.access(paths.root, os.W_OK):
        return note("rights", f"you may not write in {paths.root}")
    return ok("rights", "directories 0700, files 0600")


def _key(paths: RegistryPaths) -> Iterator[Finding]:
    """Yield that the key is not the registry's, where it is not: no message of anybody fits."""
    try:
        mark = read_owner(paths).key
    except (RegistryError, StorageError):
        return  # `place` tells of it
    try:
        found = key_mark(read_secret(paths))
    except StorageError as error:
        yield bad("key", error.message, error.remedy)
        return
    if mark and found != mark:
        yield bad(
            "key",
            f"{paths.secret.name} is damaged: it is not the key that the registry was made with",
            "restore it from a backup, or stop the registry and run "
            f"`batchpilot adopt {paths.root}` for a new one",
        )


def _place(paths: RegistryPaths) -> Finding:
    remedy = f"batchpilot adopt {paths.root} makes a copy a registry of its own"
    try:
        owner, place = read_owner(paths), place_of(paths)
    except (RegistryError, StorageError) as error:
        return bad("place", error.message, error.remedy)
    match place:
        case Place.ITSELF:
            return ok("place", f"the registry itself, owned by {owner.host}")
        case Place.COPY:
            return note("place", "a copy, or another user's", remedy)
        case Place.ELSEWHERE:
            return note("place", f"owned by host {owner.host}: to change it, go there", remedy)


def _database(paths: RegistryPaths) -> Iterator[Finding]:
    kind = file_system(paths.root)
    try:
        database = reading(paths)
    except (RegistryError, StorageError) as error:
        yield ok("file system", kind)
        yield bad("database", error.message, error.remedy)
        return
    try:
        with database.read() as tx:
            yield _journal(paths, tx, kind)
            yield _sound(paths, tx, database.path)
            yield _work_dir(tx)
            applied = {name: int(at) for _, name, _, at in tx.all("all_segments")}
        yield _segments(paths, applied)
    except (*DAMAGED, LookupError, TypeError, ValueError) as error:
        yield _damaged(paths, database.path, str(error))
    finally:
        database.close()


def _journal(paths: RegistryPaths, tx: Transaction, kind: str) -> Finding:
    mode = str(tx.db.execute("PRAGMA journal_mode").fetchone()[0])
    text = f"{kind}, journal mode {mode}"
    if not on_network(paths.root):
        return ok("file system", text)
    if mode == "wal":
        return bad(
            "file system",
            f"{text}: a write-ahead log does not work on a network file system",
            "stop the registry, then let sqlite3 set PRAGMA journal_mode = PERSIST",
        )
    return ok("file system", f"{text}, shared over the network")


def _sound(paths: RegistryPaths, tx: Transaction, path: Path) -> Finding:
    said = [str(row[0]) for row in tx.db.execute("PRAGMA integrity_check(3)")]
    wrong = contradictions(tx, paths.segments) if said == ["ok"] else said
    if wrong:
        return _damaged(paths, path, "; ".join(wrong))
    backups = list(_ages(paths.backup.glob("registry-*.db")))
    age = f"last backup {duration(time.time() - max(backups))} ago" if backups else "no backup yet"
    return ok("database", f"{path.name} is sound, {age}")


def _ages(files: Iterable[Path]) -> Iterator[float]:
    """Yield when files were written; one that a coordinator has just replaced is left out."""
    for path in files:
        with suppress(FileNotFoundError):
            yield path.stat().st_mtime


def _damaged(paths: RegistryPaths, path: Path, said: str) -> Finding:
    told = " ".join(said.split())
    remedy = f"batchpilot coordinator stop {paths.root}; batchpilot repair {paths.root}"
    return bad("database", f"{path.name} is damaged: {told}", remedy)


def _work_dir(tx: Transaction) -> Finding:
    work_dir = Path(str(tx.meta("work_dir")))
    if work_dir.is_dir():
        return ok("working directory", str(work_dir))
    return bad("working directory", f"{work_dir} is gone: jobs cannot begin", "make it again")


def _segments(paths: RegistryPaths, applied: dict[str, int]) -> Finding:
    found: dict[str, Soundness] = {}
    for path in sorted([*paths.segments.glob("*.results"), *paths.segments.glob("*.logs")]):
        try:
            found[path.name] = inspect_segment(path)
        except OSError as error:
            return bad("segments", f"{path.name} cannot be read: {error}", "check disk and rights")
    short = [name for name, at in applied.items() if found.get(name, Soundness()).end < at]
    gaps = sum(segment.gaps for segment in found.values())
    torn = sum(segment.torn > 0 for segment in found.values())
    records = sum(segment.frames for segment in found.values())
    text = f"{len(found)} with {records} records"
    if short or gaps:
        where = [name for name, segment in found.items() if segment.gaps]
        names = ", ".join([*short, *where][:_SHOWN])
        return bad(
            "segments",
            f"{text}; {gaps} damaged stretches, {len(short)} cut short: {names}",
            "submit the jobs again whose results cannot be read",
        )
    if torn:
        return note("segments", f"{text}; {torn} end in a record that is not complete")
    return ok("segments", f"{text}, all readable")
