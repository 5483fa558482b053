"""The study with which docs/pools.md begins, as it stands there, on a real Slurm.

Files of the page are written, its commands typed by a normal user, and what they print is what the
page shows, but for what differs from day to day: times, names and places, and at which step a
program was told to go.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.beds import as_user, give
from tests.conftest import Until

from .conftest import Site


pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not shutil.which("gcc"), reason="NOT TESTED: there is no gcc"),
]

PAGE = Path(__file__).parents[3] / "docs" / "pools.md"
BEHIND = "\n## Slots, walltime, agents\n"
FILE = re.compile(r"^`([\w.]+)`\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
CANCEL = "scancel 1_1"
FOLLOW = "batchpilot log 2 -f"
NOTHING_YET = "No job has failed."
RATE = "1.5"
"""That of job 2."""

JOBS = 8

MODULE = '() { echo "Loading $2" >&2; }'
"""What a site's `module` is: a function that bash finds in its environment."""

BATCHPILOT = "from batchpilot.cli import main; raise SystemExit(main())"
DIFFERENT = (
    (r"^\d+ of \d+ jobs ended.*\n", ""),
    (r"^slurm-\S+ +slurm .*", "<an agent>"),
    (r"slurm-[0-9a-f]{8}-\d+-[0-9a-f]{4}", "<an agent>"),
    (r"\b\d+(?:\.\d+)? (?:s|min|h)\b", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<now>"),
    (r"\b(process|attempt) \d+", r"\1 <n>"),
    (r" on \S+, term", " on <host>, term"),
    (r"^Broker: .*", "Broker: <which>"),
    (r"\[[#.]+\].*", "<progress>"),
    (r"\bstep \d+", "step <n>"),
    (r"(- \w+ *:) +\d+ .*", r"\1 <n>"),
    (r"(agents?), \d+ of", r"\1, <n> of"),
    (r" +$", ""),
    (r" +", " "),
)


@dataclass(frozen=True)
class Typed:
    """A command that was typed.

    Attributes:
        process: Its process.
        output: What it has printed so far.
    """

    process: subprocess.Popen[str]
    output: Path

    @property
    def printed(self) -> str:
        """Return what it has printed so far."""
        return self.output.read_text()

    def end(self) -> str:
        """Wait for its end and return what it has printed."""
        code = self.process.wait(timeout=300)
        assert code == 0, self.printed
        return self.printed


class Desk:
    """Where a user has the files of the page and types its commands.

    Args:
        site: The user's site.
        terminal: Where there is what commands print.
    """

    def __init__(self, site: Site, terminal: Path) -> None:
        self._site = site
        self._terminal = terminal
        self._typed: list[Typed] = []
        self._bin = site.place / "bin"
        self._bin.mkdir()
        self._put("python", '"$@"')
        self._put("batchpilot", f"-c '{BATCHPILOT}' \"$@\"")

    def _put(self, name: str, arguments: str) -> None:
        path = self._bin / name
        path.write_text(f"#!/bin/bash\nexec {self._site.python.executable} {arguments}\n")
        path.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        (self._site.place / name).write_text(text, encoding="utf-8")
        give(self._site.place, self._site.python.user)

    def begin(self, command: str) -> Typed:
        """Type a command without waiting for its end."""
        given = {**self._site.environment, **self._site.python.environment}
        path = f"{self._bin}{os.pathsep}{given['PATH']}"
        output = self._terminal / str(len(self._typed))
        with output.open("w") as file:
            process = subprocess.Popen(
                [*as_user(self._site.python.user), "bash", "-c", command],
                cwd=self._site.place,
                env={**given, "PATH": path, "BASH_FUNC_module%%": MODULE},
                stdout=file,
                stderr=file,
                text=True,
            )
        self._typed.append(Typed(process, output))
        return self._typed[-1]

    def leave(self) -> None:
        """End what still runs."""
        for typed in self._typed:
            typed.process.kill()
            typed.process.wait()

    def rates(self) -> list[str]:
        """Return the rates for which a program of the page runs."""
        running = (process.info["cmdline"] or [""] for process in psutil.process_iter(["cmdline"]))
        return [words[1] for words in running if words[0] == str(self._site.place / "sweep")]


@pytest.fixture
def desk(slurm_site: Site, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(slurm_site, tmp_path)
    yield desk
    desk.leave()


def element_of(job: int, listed: str) -> str:
    """Return what the batch system calls the agent that runs a job, from the list of agents."""
    rows = [line.split() for line in listed.splitlines() if line.startswith("slurm-")]
    (element,) = (row[4] for row in rows if str(job) in row[8].split(","))
    return element


def has_told(desk: Desk, typed: dict[str, Typed], command: str) -> bool:
    """Type a command, and tell whether there was something to tell; one that follows goes on."""
    typed[command] = desk.begin(command)
    return command == FOLLOW or NOTHING_YET not in typed[command].end()


def settled(text: str) -> str:
    """Return what was printed without what differs from day to day, and no line twice in a row."""
    for pattern, word in DIFFERENT:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    lines = text.splitlines()
    return "\n".join(b for a, b in zip(["", *lines], lines, strict=False) if a != b)


def test_the_sweep_of_the_page_runs_as_the_page_tells(
    slurm_site: Site, desk: Desk, until: Until
) -> None:
    site = slurm_site
    page, _, rest = PAGE.read_text(encoding="utf-8").partition(BEHIND)
    assert rest
    for name, text in FILE.findall(page):
        desk.write(name, text)
    typed: dict[str, Typed] = {}
    before: dict[str, Callable[[], object]] = {
        FOLLOW: lambda: RATE in desk.rates(),
        "batchpilot errors": (site.place / "registry" / "external" / "1").exists,
        "batchpilot agents list": lambda: len(desk.rates()) == JOBS,
        CANCEL: lambda: "\nstep " in typed[FOLLOW].printed,
        "batchpilot why 2": lambda: RATE in desk.rates(),
    }
    commands = TYPED.findall("".join(CONSOLE.findall(page)))

    for command, _ in commands:
        until(before.get(command, lambda: True))
        if command == CANCEL:
            listed = typed["batchpilot agents list"].end()
            typed[command] = desk.begin(f"scancel {element_of(2, listed)}")
            until(lambda: RATE not in desk.rates())
            continue
        until(partial(has_told, desk, typed, command))

    place = str(site.place)
    for command, shown in commands:
        printed = typed[command].end().replace(place, "/home/you")
        assert settled(printed) == settled(shown), command
    begun = site.call("grep", "registry", r"begin at step [1-9]").splitlines()
    assert [line.partition(":")[0] for line in begun] == [str(job) for job in range(1, 9)]
    said = [path.read_text() for path in site.place.glob("registry/allocations/*/*.out")]
    assert all(text.startswith("Loading gcc\n") for text in said)
    assert any("leaving: walltime" in text for text in said)
