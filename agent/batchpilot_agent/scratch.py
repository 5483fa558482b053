"""Where an agent has its private directory on the node: spools, and temporary files of its jobs.

The first of these that exists, may be written to and is no network file system; where all of them
are shared, the first at all:

    $SLURM_TMPDIR   $PBS_JOBFS   $TMPDIR   /tmp   /var/tmp

Batch systems hand down the login node's TMPDIR, which need not be there on the node, or where some
other user has made it; and where thousands of jobs open temporary files, a shared file system
suffers. So nobody but this user and root may be able to put something else in the place of the
directory, or of those above it; where that holds for none, as in containers that do not know root,
the first counts that is there. `$BATCHPILOT_SCRATCH` is taken as it is: for nodes whose disk no
variable names.

The name of the directory is short, since sockets in it have at most 108 characters, and nobody can
guess it. The keeper makes it, for this user only and never over another one, and removes it; so
does the warden where keeper and pilot are killed together. Where all three are, as by control
groups, the next agent on the node removes it: a lock on it, which ends with them, tells that nobody
needs it any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from batchpilot_broker.host import on_network


TMP = "tmp"
"""Name in it of the directory for temporary files of the jobs, their `TMPDIR`."""

CHOSEN = "BATCHPILOT_SCRATCH"
NAMES = ("SLURM_TMPDIR", "PBS_JOBFS", "TMPDIR")
USUAL = ("/tmp", "/var/tmp")  # noqa: S108 - what is made there is ours alone

YOUNG = 60.0
"""Seconds in which an agent has locked the directory that it has made."""

_OURS = re.compile(r"batchpilot-[0-9a-f]{12}")
_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def new_scratch(
    environment: Mapping[str, str], shared: Callable[[Path], bool] = on_network
) -> Path:
    """Return a new name in the directory for temporary files.

    Args:
        environment: What the batch system and the user say of it.
        shared: Tells whether a directory is on a network file system.
    """
    return _parent(environment, shared) / f"batchpilot-{os.urandom(6).hex()}"


def make_scratch(path: Path) -> None:
    """Make the directory, and have it known as in use until this process and its forks end.

    Raises:
        FileExistsError: There is something of that name.
    """
    path.mkdir(mode=0o700)
    (path / TMP).mkdir(mode=0o700)
    with contextlib.suppress(OSError):  # a file system without locks: nobody removes it then
        fcntl.flock(os.open(path, _LOOK), fcntl.LOCK_EX | fcntl.LOCK_NB)


def abandoned(parent: Path, shared: Callable[[Path], bool] = on_network) -> list[tuple[Path, int]]:
    """Return the directories of agents of this user that were killed, each with a lock on it.

    Args:
        parent: Where they are looked for; not where other hosts may have theirs.
        shared: Tells whether a directory is on a network file system.
    """
    if shared(parent) or not os.access(parent, os.R_OK):
        return []
    found = [path for path in parent.iterdir() if _OURS.fullmatch(path.name)]
    return [(path, lock) for path in found if (lock := _lock(path)) is not None]


def _lock(path: Path) -> int | None:
    """Return a lock on a directory that nobody needs any more, None where that is not so."""
    try:
        fd = os.open(path, _LOOK)
    except OSError:
        return None  # gone meanwhile, or not ours
    if _is_left(fd):
        return fd
    os.close(fd)
    return None


def _is_left(fd: int) -> bool:
    status = os.fstat(fd)
    if status.st_uid != os.getuid() or status.st_mtime > time.time() - YOUNG:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # in use
    return True


def _parent(environment: Mapping[str, str], shared: Callable[[Path], bool]) -> Path:
    if environment.get(CHOSEN):
        return Path(environment[CHOSEN])
    named = [environment[name] for name in NAMES if environment.get(name)]
    usable = [path for path in map(Path, (*named, *USUAL)) if _is_ours_to_use(path)]
    usable = [path for path in map(_settled, usable) if path is not None] or usable
    local = (path for path in usable if not shared(path))
    return next(local, usable[0] if usable else Path(USUAL[0]))


def _is_ours_to_use(path: Path) -> bool:
    return path.is_absolute() and path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _settled(path: Path) -> Path | None:
    """Return a directory without links on the way, None where others could replace it."""
    real = path.resolve()
    try:
        settled = all(_is_settled(place.lstat()) for place in (real, *real.parents))
    except OSError:
        return None  # somebody is at it now
    return real if settled else None


def _is_settled(status: os.stat_result) -> bool:
    """Tell whether nobody but this user and root can rename what others have in a directory."""
    others = stat.S_IWGRP | stat.S_IWOTH
    open_to_others = status.st_mode & others and not status.st_mode & stat.S_ISVTX
    return status.st_uid in {0, os.getuid()} and not open_to_others
