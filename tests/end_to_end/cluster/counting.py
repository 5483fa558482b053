"""Count the commands of a batch system: programs of their names note each call, then become it.

What a job calls is told apart: "at a node: squeue".
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.beds import give


NOTING = '#!/bin/sh\necho "${{SLURMD_NODENAME:+at a node: }}{name}" >>{log}\nexec {real} "$@"\n'


@dataclass(frozen=True)
class Counter:
    """Commands that are counted.

    Attributes:
        path: Where they are, to be looked for there first.
        log: A line each.
    """

    path: Path
    log: Path

    def count(self) -> dict[str, int]:
        """Return how often each was called."""
        names = self.log.read_text().splitlines()
        return {name: names.count(name) for name in sorted(set(names))}


def counter_in(place: Path, user: str, commands: Iterable[str]) -> Counter:
    """Make counting ones of some commands of this machine, for a user."""
    counter = Counter(place / "counted", place / "counted" / "log")
    counter.path.mkdir()
    counter.log.touch()
    for name in commands:
        program = counter.path / name
        program.write_text(NOTING.format(name=name, log=counter.log, real=shutil.which(name)))
        program.chmod(0o755)
    give(counter.path, user)
    return counter
