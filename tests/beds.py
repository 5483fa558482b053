"""Places to launch agents at: batch systems on this machine, as a normal user would use them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
from tests.conftest import wait_until
from tests.fakes.farm import Farm, Settings

from batchpilot_agent.launchers.running import Completed, Runner, submitting_environment


HERE = Path(__file__).parent
USER = "tester"


def normal_user() -> str:
    """Return the user for whom root launches agents, "" where the tests run as one already."""
    if os.getuid():
        return ""
    with Path(tempfile.gettempdir(), "batchpilot-user.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be about to add the user, or at it
        try:
            pwd.getpwnam(USER)
        except KeyError:
            command = ["useradd", "-m", "-s", "/bin/bash", "-p", "*", USER]
            subprocess.run(command, check=True)
    return USER


def give(path: Path, user: str) -> None:
    """Give a directory and all in it to a user, or a file; what goes meanwhile needs no owner."""
    if user:
        owner = pwd.getpwnam(user)
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        for top, directories, files in os.walk(path):  # bears that a directory goes
            for name in (*directories, *files):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(f"{top}/{name}", owner.pw_uid, owner.pw_gid, follow_symlinks=False)


@contextlib.contextmanager
def open_place(user: str) -> Iterator[Path]:
    """Give a directory that this user and all daemons can reach, which pytest's are not."""
    place = Path(tempfile.mkdtemp(prefix="batchpilot-bed-"))
    place.chmod(0o755)
    give(place, user)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def as_user(user: str) -> tuple[str, ...]:
    """Return what a command line begins with to run as this user, without a process between."""
    if not user:
        return ()
    known = pwd.getpwnam(user)
    who = {"HOME": known.pw_dir, "USER": user, "LOGNAME": user, "SHELL": known.pw_shell}
    ids = (f"--reuid={user}", f"--regid={known.pw_gid}", "--init-groups")
    return ("setpriv", *ids, "env", *(f"{name}={value}" for name, value in who.items()))


@dataclass
class Recorder:
    """Run commands as a normal user, who can read what they work on, and note them.

    Attributes:
        runner: Runs them.
        user: The user, "" for who runs the tests.
        calls: What was run.
    """

    runner: Runner
    user: str
    calls: list[list[str]] = field(default_factory=list)

    def __call__(
        self, argv: Sequence[str], *, cwd: Path | None = None, stdin: str = ""
    ) -> Completed:
        """Run a command and return how it ended."""
        if cwd is not None:
            give(cwd, self.user)
        self.calls.append(list(argv))
        return self.runner(argv, cwd=cwd, stdin=stdin)


@contextlib.contextmanager
def open_farm(kind: str, place: Path, user: str) -> Iterator[tuple[Farm, dict[str, str]]]:
    """Give a fake batch system with its daemon, and the environment in which its commands are."""
    root = place / "farm"
    fakes = root / "tests" / "fakes"
    unfinished = shutil.ignore_patterns("*.pyc.*")  # another worker is about to name it otherwise
    shutil.copytree(HERE / "fakes", fakes, symlinks=True, ignore=unfinished)
    farm = Farm(root)
    farm.settings = Settings()
    give(place, user)
    environment = {
        **os.environ,
        "FARM": str(root),
        "PATH": f"{fakes / kind}{os.pathsep}{os.environ['PATH']}",
    }
    python = ["python3"] if user else [sys.executable]
    daemon = subprocess.Popen(
        [*as_user(user), *python, "-m", "tests.fakes.farm", str(root)],
        cwd=root,
        env=environment,
        start_new_session=True,
    )
    try:
        yield farm, submitting_environment(environment)
    finally:
        farm.cancel(farm.elements())
        settings = farm.settings
        settings.kill = [("KILL", 0.0)]
        farm.settings = settings
        wait_until(lambda: all(e.state == "ended" for e in farm.elements()))
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()
        farm.db.close()


@dataclass(frozen=True)
class SlurmTestbed:
    """A real Slurm of several nodes on this machine.

    Attributes:
        place: Its directory.
        port: First of its ports.
    """

    place: Path
    port: int

    def do(self, *words: str) -> None:
        """Have the bed do something."""
        command = [str(HERE / "testbed" / "slurm-testbed"), *words, "-d", str(self.place)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which its commands find it."""
        return {**os.environ, "SLURM_CONF": str(self.place / "slurm.conf")}


@contextlib.contextmanager
def _ports() -> Iterator[int]:
    """Give the first of 20 ports that no other bed listens on, or is about to."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in range(26817 + 20 * worker, 32000, 400):
        with Path(tempfile.gettempdir(), f"batchpilot-bed-{port}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _is_free(port):
                yield port
                return
    pytest.fail("there are no free ports for a Slurm")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        return all(sock.connect_ex(("127.0.0.1", port + n)) != 0 for n in range(20))


@contextlib.contextmanager
def open_slurm(
    nodes: int = 3, *, netns: bool = False, min_job_age: int = 300
) -> Iterator[SlurmTestbed]:
    """Give a real Slurm; where there cannot be one, the test is skipped.

    Args:
        nodes: How many it has.
        netns: Whether each has a network, a host name, mounts and processes of its own. It sees
            what was mounted before.
        min_job_age: Seconds for which it remembers what has ended.
    """
    if os.getuid() or not shutil.which("slurmctld") or not shutil.which("munged"):
        pytest.skip("a real Slurm needs root and Debian's slurm-wlm: scripts/test-deps")
    normal_user()  # else the bed would add that user, and not wait for another one that is at it
    with _ports() as port:
        bed = SlurmTestbed(Path(tempfile.mkdtemp(prefix="batchpilot-slurm-")), port)
        bed.place.chmod(0o755)
        apart = ("--netns", "--subnet", f"10.77.{port // 20 % 250}") if netns else ()
        try:
            size = ("-n", str(nodes), "--port", str(port))
            bed.do("up", *size, "--min-job-age", str(min_job_age), *apart)
            yield bed
        finally:
            bed.do("down", "--purge")


@dataclass(frozen=True)
class UserPython:
    """This Python with batchpilot, as a normal user can run it.

    Attributes:
        user: The user, "" for who runs the tests.
        executable: The interpreter.
        environment: What it needs, for agents as well.
    """

    user: str
    executable: str
    environment: dict[str, str]

    def run(
        self, *words: str, environment: dict[str, str], cwd: Path, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run Python as this user; anything but this exit code fails the test."""
        done = subprocess.run(
            [*as_user(self.user), self.executable, *words],
            env={**environment, **self.environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def batchpilot(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line as this user."""
        return self.run(
            "-c", "from batchpilot.cli import main; raise SystemExit(main())", *words, **options
        )


@contextlib.contextmanager
def open_python(place: Path, user: str) -> Iterator[UserPython]:
    """Give this Python to a user; what is in a home closed to others is mounted elsewhere."""
    with contextlib.ExitStack() as mounts:

        def reachable(path: Path, name: str) -> Path:
            command = [*as_user(user), "test", "-r", str(path)]
            if not user or subprocess.run(command, check=False).returncode == 0:
                return path
            there = place / name
            there.mkdir()
            subprocess.run(["mount", "--bind", str(path), str(there)], check=True)  # noqa: S607 - of util-linux
            mounts.callback(subprocess.run, ["umount", "--lazy", str(there)], check=True)
            return there

        house = reachable(HERE.parent, "house")
        base = reachable(Path(sys.base_prefix), "python")
        installed = reachable(Path(msgpack.__file__).parents[1], "site-packages")
        paths = [*(house / name for name in ("core", "agent", "broker")), installed]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
        if base != Path(sys.base_prefix):
            environment["LD_LIBRARY_PATH"] = str(base / "lib")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        yield UserPython(user, str(base / "bin" / version), environment)
