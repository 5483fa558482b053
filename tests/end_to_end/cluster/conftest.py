"""Studies of a normal user on batch systems: fakes that start jobs for real, and a real Slurm."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import beds
from tests.beds import (
    SlurmTestbed,
    UserPython,
    as_user,
    give,
    normal_user,
    open_farm,
    open_place,
    open_python,
    open_slurm,
)


FAKES = ("PBS", "Torque", "LSF", "SGE")
SCRIPT = """
import json, os, sys, time
import batchpilot as bp

def job(i):
    time.sleep({seconds})
    return os.environ["BATCHPILOT_AGENT"], os.getuid()

if __name__ == "__main__":
    reg = bp.make_registry("registry")
    reg.pools = {pools}
    reg.batch_map(job, i=range({jobs}))
    reg.submit_jobs(resources={resources})
    ended = reg.wait_for_jobs(timeout={timeout}, progress=False)
    print(json.dumps({{"ended": ended, "results": [list(r) for _, r in reg.iter_results()]}}))
"""


SHOWN = 60
"""Lines of the coordinator's log that are shown below a test that fails."""

FORGET = """
import pathlib, shutil
from batchpilot.store.owner import read_owner
from batchpilot_broker.host import runtime_dir
from batchpilot_broker.paths import RegistryPaths
home = runtime_dir(read_owner(RegistryPaths(pathlib.Path("registry"))).instance)
shutil.rmtree(home)
home.with_suffix(".lock").unlink(missing_ok=True)
"""
"""Removes the directory of a registry's broker."""


@dataclass(frozen=True)
class Site:
    """Where a user has a batch system.

    Attributes:
        kind: Class of the pools for it.
        place: Directory of the study.
        python: Runs as the user.
        environment: Where the commands are found.
    """

    kind: str
    place: Path
    python: UserPython
    environment: dict[str, str]

    def pool(self, **options: Any) -> str:
        """Return the source of a pool; agents get what this Python needs."""
        given = {"env": self.python.environment, **options}
        return f"bp.pools.{self.kind}({', '.join(f'{k}={v!r}' for k, v in given.items())})"

    def study(
        self,
        pools: str,
        *,
        jobs: int = 20,
        seconds: float = 0.1,
        timeout: float = 100.0,
        resources: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run a study and return what it printed."""
        text = SCRIPT.format(
            pools=pools, jobs=jobs, seconds=seconds, timeout=timeout, resources=resources
        )
        (self.place / "study.py").write_text(text)
        done = self.python.run("study.py", environment=self.environment, cwd=self.place)
        printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**printed, "stderr": done.stderr}

    def make(self, pools: str) -> None:
        """Make the registry with these pools, and nothing to do."""
        (self.place / "make.py").write_text(
            f"import batchpilot as bp\nbp.make_registry('registry').pools = {pools}\n"
        )
        self.python.run("make.py", environment=self.environment, cwd=self.place)

    def probed(self, *words: str, code: int) -> dict[str, list[dict[str, str]]]:
        """Return what a probe has found, by the names of the checks."""
        told = json.loads(self.call("doctor", "registry", "--probe", "--json", *words, code=code))
        found: dict[str, list[dict[str, str]]] = {}
        for check in told["checks"]:
            found.setdefault(check["check"], []).append(check)
        return found

    def call(self, *words: str, code: int = 0) -> str:
        """Return what a command prints."""
        return self.python.batchpilot(
            *words, environment=self.environment, cwd=self.place, code=code
        ).stdout

    def command(self, *words: str, code: int = 0) -> str:
        """Return what a command of the batch system says to the user."""
        done = subprocess.run(
            [*as_user(self.python.user), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def document(self, *words: str) -> dict[str, Any]:
        """Return the document that a command prints."""
        found: dict[str, Any] = json.loads(self.call(*words, "--json"))
        return found


@pytest.fixture(scope="module")
def slurm_bed() -> Iterator[SlurmTestbed]:
    with open_slurm() as bed:
        yield bed


@contextmanager
def site_at(
    kind: str, place: Path, python: UserPython, environment: dict[str, str]
) -> Iterator[Site]:
    """Give a batch system to a user, and end all that runs for the registry of the study."""
    site = _study(kind, place, python, environment)
    try:
        yield site
    except BaseException:
        _show(site)
        raise
    finally:
        if (site.place / "registry").exists():
            site.call("agents", "stop", "registry")
            site.call("coordinator", "stop", "registry")
            python.run("-c", FORGET, environment=environment, cwd=site.place)


def _show(site: Site) -> None:
    """Print how things stand: pytest shows it below a test that fails."""
    log = site.place / "registry" / "logs" / "coordinator.log"
    asked: dict[str, Callable[[], str]] = {
        "agents list": lambda: site.call("agents", "list", "registry"),
        log.name: lambda: "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN:]),
    }
    if site.kind == "Slurm":
        asked |= {
            "squeue": lambda: site.command("squeue", "-a", "-r", "-l"),
            "sinfo": lambda: site.command("sinfo", "-N", "-l"),
        }
    for name, ask in asked.items():
        try:
            said = ask()
        except Exception as error:  # noqa: BLE001 - the failure of the test is what counts
            said = f"cannot be had: {error}"
        print(f"== {name}\n{said}")  # noqa: T201 - stands beside a failure


def _study(kind: str, place: Path, python: UserPython, environment: dict[str, str]) -> Site:
    study = place / "study"
    study.mkdir()
    give(study, python.user)
    return Site(kind, study, python, environment)


@contextmanager
def open_site(kind: str, place: Path, user: str, environment: dict[str, str]) -> Iterator[Site]:
    """Give the same, with this Python."""
    with open_python(place, user) as python, site_at(kind, place, python, environment) as site:
        yield site


@pytest.fixture(params=[*FAKES, pytest.param("Slurm", marks=pytest.mark.cluster)])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    user = normal_user()
    with open_place(user) as place:
        if request.param == "Slurm":
            bed: SlurmTestbed = request.getfixturevalue("slurm_bed")
            with open_site("Slurm", place, user, bed.environment) as site:
                yield site
            return
        with (
            open_farm(request.param.lower(), place, user) as (_, environment),
            open_site(request.param, place, user, environment) as site,
        ):
            yield site


@pytest.fixture
def slurm_site(slurm_bed: SlurmTestbed) -> Iterator[Site]:
    """Give one with a real Slurm."""
    user = normal_user()
    with (
        open_place(user) as place,
        open_site("Slurm", place, user, slurm_bed.environment) as site,
    ):
        yield site


@pytest.fixture
def apart_site() -> Iterator[Site]:
    """Give one with a real Slurm whose nodes are hosts of their own."""
    user = normal_user()
    with (
        open_place(user) as place,
        open_python(place, user) as python,
        open_slurm(2, netns=True) as bed,  # nodes see what was mounted before them
    ):
        site = _study("Slurm", place, python, bed.environment)
        yield site
        site.call("coordinator", "stop", "registry")


@pytest.fixture
def pbs_site() -> Iterator[Site]:
    """Give one with a fake PBS, for what does not differ between them."""
    user = normal_user()
    with (
        open_place(user) as place,
        open_farm("pbs", place, user) as (_, environment),
        open_site("PBS", place, user, environment) as site,
    ):
        yield site


@dataclass(frozen=True)
class SSHSite:
    """A site with hosts of their own, and a client that finds them.

    Attributes:
        site: Where the user works.
        bed: Directory of the hosts.
    """

    site: Site
    bed: Path

    def run_on(self, host: str, text: str) -> str:
        """Run a Python program on a host as the user, beside the study; return its words."""
        exports = [f"{name}={value}" for name, value in self.site.python.environment.items()]
        remote = shlex.join(["env", *exports, self.site.python.executable, "-c", text])
        place = shlex.quote(str(self.site.place))
        client = ["ssh", "-F", str(self.bed / "ssh_config"), host]
        command = [*as_user(self.site.python.user), *client, f"cd {place} && {remote}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()


@contextmanager
def _hosts(place: Path, user: str) -> Iterator[Path]:
    """Start hosts, and let the user's own client find them by their names."""
    bed = place / "hosts"
    script = str(Path(beds.__file__).parent / "testbed" / "ssh-testbed")
    port = str(20000 + os.getpid() % 20000)
    subnet = f"10.79.{os.getpid() % 250}"
    up = ["up", "-n", "2", "-u", user, "--netns", "--port", port, "--subnet", subnet]
    config = Path(pwd.getpwnam(user).pw_dir) / ".ssh" / "config"
    try:
        subprocess.run([script, *up, "-d", str(bed)], check=True, capture_output=True)
        config.parent.mkdir(mode=0o700, exist_ok=True)
        config.write_text(f"Include {bed}/ssh_config\n")
        give(config.parent, user)
        yield bed
    finally:
        config.unlink(missing_ok=True)
        subprocess.run([script, "down", "-d", str(bed), "--purge"], check=True, capture_output=True)


@pytest.fixture
def ssh_site() -> Iterator[SSHSite]:
    """Give two hosts with networks and names of their own."""
    user = normal_user()
    if not user:
        pytest.skip("hosts with networks of their own need root")
    with (
        open_place(user) as place,
        open_site("SSH", place, user, dict(os.environ)) as site,
        _hosts(place, user) as bed,
    ):
        yield SSHSite(site, bed)
        site.call("agents", "stop", "registry")


@pytest.fixture
def mixed_site() -> Iterator[SSHSite]:
    """Give the same hosts beside a real Slurm whose nodes are hosts of their own, too."""
    user = normal_user()
    with (
        open_place(user) as place,
        open_python(place, user) as python,
        open_slurm(2, netns=True) as slurm,
        site_at("Slurm", place, python, slurm.environment) as site,
        _hosts(place, user) as bed,
    ):
        yield SSHSite(site, bed)
        site.call("agents", "stop", "registry")
