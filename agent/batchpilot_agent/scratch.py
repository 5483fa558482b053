"""Where an agent has its private directory on the node: spools, and temporary files of its jobs.

The first of these that exists, may be written to and is no network file system; where all of them
are shared, the first at all:

    $SLURM_TMPDIR   $PBS_JOBFS   $TMPDIR   /tmp   /var/tmp

Batch systems hand down the login node's TMPDIR, which need not be there on the node; and where
thousands of jobs open temporary files, a shared file system suffers. `$BATCHPILOT_SCRATCH` is
taken as it is: for nodes whose disk no variable names.

The name of the directory is short, since sockets in it have at most 108 characters, and nobody can
guess it. The keeper makes it, for this user only and never over another one, and removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from batchpilot_broker.host import on_network


TMP = "tmp"
"""Name in it of the directory for temporary files of the jobs, their `TMPDIR`."""

CHOSEN = "BATCHPILOT_SCRATCH"
NAMES = ("SLURM_TMPDIR", "PBS_JOBFS", "TMPDIR")
USUAL = ("/tmp", "/var/tmp")  # noqa: S108 - what is made there is ours alone


def new_scratch(
    environment: Mapping[str, str], shared: Callable[[Path], bool] = on_network
) -> Path:
    """Return a new name in the directory for temporary files.

    Args:
        environment: What the batch system and the user say of it.
        shared: Tells whether a directory is on a network file system.
    """
    return _parent(environment, shared) / f"batchpilot-{os.urandom(6).hex()}"


def _parent(environment: Mapping[str, str], shared: Callable[[Path], bool]) -> Path:
    if environment.get(CHOSEN):
        return Path(environment[CHOSEN])
    named = [environment[name] for name in NAMES if environment.get(name)]
    usable = [path for path in map(Path, (*named, *USUAL)) if _is_ours_to_use(path)]
    local = (path for path in usable if not shared(path))
    return next(local, usable[0] if usable else Path(USUAL[0]))


def _is_ours_to_use(path: Path) -> bool:
    return path.is_absolute() and path.is_dir() and os.access(path, os.W_OK | os.X_OK)
