"""A session of a user that stays open: a study under way is looked at and meddled with."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.beds import as_user

from .conftest import Site


BEGIN = """
import json, os, signal, sys, time
from pathlib import Path
import batchpilot as bp
from batchpilot import control
{jobs}
reg = bp.make_registry("registry")
reg.pools = {pools}
"""

PAUSE = 0.1

ANSWER = """

def column(name):
    from batchpilot.store.pages import read_column
    with reg.database.read() as tx:
        return read_column(tx.db, name).tolist()

def tools():
    sys.path.append(str(Path(bp.__file__).parents[2]))
    from tests.end_to_end.failures import tools
    return tools

def failures():
    from dataclasses import asdict
    from batchpilot.store.launches import read_failures
    return [asdict(failure) for failure in read_failures(reg.paths)]

if __name__ == "__main__":
    for line in sys.stdin:
        answer = eval(json.loads(line))
        print(json.dumps(answer, default=str), flush=True)
"""


@dataclass(frozen=True)
class Session:
    """A Python of the user in which `reg` is the registry.

    Attributes:
        site: Where it is.
        process: The Python.
        said: What it complained of.
    """

    site: Site
    process: subprocess.Popen[str]
    said: Path

    def __call__(self, expression: str) -> Any:
        """Return what an expression gives there, as JSON carries it; who waits asks often."""
        time.sleep(PAUSE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(expression)}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.said.read_text()
        return json.loads(answer)

    def done(self) -> int:
        """Return how many jobs are done."""
        return int(self("reg.get_status().done"))

    def agents(self) -> list[dict[str, Any]]:
        """Return the agents that are there, as `agents list` has them."""
        found: list[dict[str, Any]] = self("control.agents(reg.paths)")
        return found

    def awaited(self) -> list[dict[str, Any]]:
        """Return the agents that were asked for and have not come."""
        found: list[dict[str, Any]] = self("control.awaited_agents(reg.paths)")
        return found

    def failures(self) -> list[dict[str, Any]]:
        """Return what is known of pools in trouble."""
        found: list[dict[str, Any]] = self("failures()")
        return found

    def total(self, column: str) -> int:
        """Return the sum over all jobs of a number that the registry keeps."""
        return int(self(f"sum(column({column!r}))"))


@contextmanager
def open_session(
    site: Site, pools: str, jobs: str, *, path: Sequence[Path] = ()
) -> Iterator[Session]:
    """Give a session with a new registry.

    Args:
        site: Where it is.
        pools: Source of the registry's pools.
        jobs: Source of functions.
        path: Where commands are looked for first, by it and by the daemons that it starts.
    """
    script, said = site.place / "session.py", site.place / "session.err"
    script.write_text(BEGIN.format(jobs=jobs, pools=pools) + ANSWER)
    first = os.pathsep.join([*map(str, path), site.environment["PATH"]])
    environment = {**site.environment, **site.python.environment, "PATH": first}
    with said.open("w") as errors:
        process = subprocess.Popen(
            [*as_user(site.python.user), site.python.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=site.place,
            text=True,
        )
    with process:
        yield Session(site, process, said)
