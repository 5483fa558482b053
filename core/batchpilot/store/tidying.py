"""Remove files of a registry that nobody needs any more."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from batchpilot.errors import StorageError
from batchpilot_broker.paths import RegistryPaths


_OBJECT = re.compile(rb"[0-9a-f]{64}")


def object_names(data: bytes) -> list[str]:
    """Return all that may be the name of an object in some bytes."""
    return [name.decode() for name in _OBJECT.findall(data)]


def remove_external(paths: RegistryPaths, jobs: Iterable[int]) -> None:
    """Remove the external directories of jobs.

    Raises:
        StorageError: One of them cannot be removed.
    """
    if paths.external.is_dir():
        for job in jobs:
            remove(paths.external / str(job))


def empty(directory: Path) -> None:
    """Remove all that is in a directory.

    Raises:
        StorageError: Something cannot be removed.
    """
    for path in directory.iterdir():
        remove(path)


def discard(directory: Path) -> None:
    """Remove a directory in which agents may write: first it is out of their way, then gone.

    Raises:
        StorageError: It cannot be removed.
    """
    aside = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.gone")
    try:
        directory.rename(aside)
    except FileNotFoundError:
        return
    remove(aside)


def remove(path: Path) -> None:
    """Remove a file or a directory with all in it; what a link leads to stays.

    Raises:
        StorageError: It cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot remove {error.filename or path}: {error.strerror}",
            remedy="check the rights there, then try again",
        ) from error
