"""What is kept of an allocation, for users who wonder: its scripts, and every word that was said.

script.sh, script-2.sh ...   as submitted
scheduler.log                each command, its exit code and what it wrote
submitted.json               ids and elements, for a coordinator whose predecessor died here
<element>.out                what the agents say
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from batchpilot_agent.errors import LaunchPostponed
from batchpilot_broker.errors import StorageError
from batchpilot_broker.files import read_json, write_aside, write_json

from .nouns import Submitted
from .running import Completed


_log = logging.getLogger(__name__)

_RECORD = "submitted.json"


def make_place(directory: Path) -> Path:
    """Make the directory of an allocation.

    Raises:
        LaunchPostponed: It cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchPostponed(
            f"cannot make {directory}: {error.strerror}", remedy="make room in the registry"
        ) from error
    return directory


def keep_script(directory: Path, part: int, script: str) -> str:
    """Keep the script of a part, the first is 1; return the name of its file."""
    name = "script.sh" if part == 1 else f"script-{part}.sh"
    write_aside(directory / name, script.encode())
    return name


def keep_words(directory: Path, argv: Sequence[str], said: Completed, now: float) -> None:
    """Keep what a command said; it has been run, so it is no error where that cannot be kept."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    log = directory / "scheduler.log"
    try:
        log.touch(mode=0o600)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{at} $ {shlex.join(argv)}\n{said.words}\nexit code {said.code}\n")
    except OSError as error:
        _log.warning("cannot write %s: %s; %s said: %s", log, error, argv[0], said.words)


def keep_submitted(directory: Path, submitted: Submitted) -> None:
    """Keep what the batch system calls the agents; they come, whether that can be kept or not."""
    try:
        write_json(directory / _RECORD, asdict(submitted))
    except StorageError as error:
        _log.warning("%s; submitted as %s", error, ", ".join(submitted.ids))


def read_submitted(directory: Path) -> Submitted | None:
    """Return what the batch system calls the agents, None where nothing was submitted."""
    record = read_json(directory / _RECORD)
    if record is None:
        return None
    return Submitted(
        ids=tuple(record["ids"]),
        elements=tuple(record["elements"]),
        shortfall=str(record["shortfall"]),
    )
