"""A lock on a directory, between processes of one host.

Who stores objects holds `objects/` shared until the database names them; who takes away what
nobody names holds it alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchpilot.errors import StorageError


_NO_LOCKS = frozenset((errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EBADF))
"""EBADF: NFS locks nothing alone that cannot be opened for writing, as a directory."""


@contextmanager
def locked(directory: Path, *, alone: bool) -> Iterator[None]:
    """Hold a directory, waiting for others; where a file system has no locks, hold nothing.

    Args:
        directory: The directory.
        alone: Whether nobody else may hold it meanwhile.

    Raises:
        StorageError: It is not there or cannot be locked.
    """
    try:
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _trouble(directory, error) from error
    try:
        _lock(directory, held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(held)


def _lock(directory: Path, held: int, how: int) -> None:
    try:
        fcntl.flock(held, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _trouble(directory, error) from error


def _trouble(directory: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot lock {directory}: {error.strerror}", remedy="check that it is there and yours"
    )
