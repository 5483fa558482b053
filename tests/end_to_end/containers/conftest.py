"""What containers run, as plain processes: a broker of the site's, a coordinator, agents elsewhere.

Agents get a host name of their own where that is allowed (`unshare --uts`), as in a container; the
file system is shared, as by a volume.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, script_environment

from batchpilot_broker.binaries import find_server
from batchpilot_broker.paths import RegistryPaths


PASSWORD = "correct horse"  # noqa: S105 - of a broker that lives for one test
GRACE = 30.0

_BATCHPILOT = "import sys; from batchpilot.cli import main; sys.exit(main())"

CONFIGURATION = """
[[pools]]
kind = "External"
name = "kubernetes"
slots = 2
max_agents = 3
"""


@dataclass(slots=True)
class Site:
    """Start what the containers start, in one directory, and end it.

    Attributes:
        root: The directory that they share.
        environment: What the coordinator's container has in its environment.
    """

    root: Path
    environment: dict[str, str]
    _started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def study(self) -> Path:
        """Return the registry's directory."""
        return self.root / "study"

    @property
    def agents(self) -> list[subprocess.Popen[str]]:
        """Return the agents that were started."""
        return [p for p in self._started if "agents" in p.args]  # type: ignore[operator]  # is a list

    def run(self, *words: str, host: str = "") -> subprocess.Popen[str]:
        """Start `batchpilot WORDS` and return it; with a host, under that name."""
        command: Sequence[str] = [sys.executable, "-c", _BATCHPILOT, *words]
        environment = dict(self.environment)
        if host:
            environment.pop("BATCHPILOT_BROKER_PASSWORD_FILE", None)
            command = [*as_host(host), *command]
        process = subprocess.Popen(
            command, cwd=self.root, env=environment, text=True, stderr=subprocess.PIPE
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """End what still runs."""
        for process in reversed(self._started):
            if process.poll() is None:
                process.terminate()
                process.wait(GRACE)
            if process.stderr is not None:
                sys.stdout.write(process.stderr.read())
                process.stderr.close()


def as_host(name: str) -> list[str]:
    """Return the words that run a command under another host name, none where not allowed."""
    words = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if tried.returncode == 0 else []


@pytest.fixture
def broker_url(tmp_path: Path, until: Until) -> Iterator[str]:
    """Run a broker that is not batchpilot's, with a password."""
    directory = tmp_path / "broker"
    directory.mkdir()
    socket = directory / "sock"
    server = subprocess.Popen(
        [find_server().path, "-"],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with server:
        assert server.stdin is not None
        server.stdin.write(f'port 0\nunixsocket {socket}\nrequirepass "{PASSWORD}"\nsave ""\n')
        server.stdin.close()
        until(socket.exists)
        yield f"unix://{socket}"
        server.terminate()


@pytest.fixture
def site(tmp_path: Path, broker_url: str, make_study: MakeStudy) -> Iterator[Site]:
    """Give a site whose coordinator knows the broker by its URL and a file with the password."""
    root = tmp_path / "site"
    configuration = tmp_path / "etc"
    password = tmp_path / "password"
    for directory in (root, configuration):
        directory.mkdir()
    password.write_text(f"{PASSWORD}\n")
    (configuration / "batchpilot.toml").write_text(CONFIGURATION)
    found = Site(
        root,
        {
            **script_environment(),
            "BATCHPILOT_SEARCH_PATH": str(configuration),
            "BATCHPILOT_BROKER_URL": broker_url,
            "BATCHPILOT_BROKER_PASSWORD_FILE": str(password),
            "PYTHONUNBUFFERED": "1",
        },
    )
    make_study.watch(found.study)
    with ExitStack() as endings:
        endings.callback(found.end)
        yield found


def paths_of(site: Site) -> RegistryPaths:
    return RegistryPaths(site.study)
