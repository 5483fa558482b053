"""Copy a database whole: for backups, for snapshots, for what a repair begins with."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from batchpilot.errors import StorageError


def copy_database(source: Path, target: Path) -> None:
    """Copy a database, consistent and whole, whoever writes to it meanwhile.

    Raises:
        StorageError: The copy cannot be written.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}.aside")
    try:
        _remove(aside)
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(aside)) as new:
            old.backup(new)
        aside.chmod(0o600)
        aside.replace(target)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            _remove(aside)
        raise StorageError(
            f"cannot copy {source} to {target}: {error}",
            remedy="check the space and the rights there",
        ) from error


def _remove(path: Path) -> None:
    """Remove a database that is none yet, and what SQLite has put beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
