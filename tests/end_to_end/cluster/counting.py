"""Count the commands of a batch system: programs of their names note each call, then become it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.beds import give


NOTING = '#!/bin/sh\necho "$(date +%s.%N) {name} $*" >>{log}\nexec {real} "$@"\n'


@dataclass(frozen=True)
class Counter:
    """Commands that are counted.

    Attributes:
        path: Where they are, to be looked for there first.
        log: A line each.
    """

    path: Path
    log: Path

    def calls(self) -> list[tuple[float, str]]:
        """Return when each was called, by Unix time."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(float(words[0]), words[1]) for words in lines]

    def count(self) -> dict[str, int]:
        """Return how often each was called."""
        names = [name for _, name in self.calls()]
        return {name: names.count(name) for name in sorted(set(names))}

    def apart(self, command: str) -> float:
        """Return the fewest seconds between two calls of a command; endless if there were none."""
        moments = [moment for moment, name in self.calls() if name == command]
        return min((b - a for a, b in pairwise(moments)), default=float("inf"))


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
