"""Registries with everything real behind them: broker, supervisor, coordinator, agents, slots.

Whatever becomes of a test, its daemons are stopped, and it fails where one of them is left. Only
processes of the test's own registries are looked for: by the registry's directory or instance in
their command line, or its instance in their environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from tests.conftest import Until
from tests.testbed.ports import lent_port

import batchpilot as bp
from batchpilot import control
from batchpilot.store.owner import read_owner
from batchpilot.store.pages import read_column
from batchpilot_broker.host import runtime_dir
from batchpilot_broker.paths import RegistryPaths


SLOTS = 2
SHOWN = 4000
"""Characters of each daemon's log that are shown below a test that fails."""
HELD_SECONDS = 100.0

Held = Callable[..., int]
Run = Callable[..., subprocess.CompletedProcess[str]]


class MakeStudy:
    """Make registries below one directory, and end all that runs for them.

    Args:
        root: Where they are made; jobs run there too.
        until: Waits.
    """

    def __init__(self, root: Path, until: Until) -> None:
        self._root = root
        self._until = until
        self._watched: list[RegistryPaths] = []
        self._endings = ExitStack()

    def __call__(
        self, name: str = "registry", *, seed: int = 1, pool: bp.pools.Pool | None = None
    ) -> bp.Registry:
        """Make a registry; its pool is `Local(slots=2)` unless another one is given."""
        registry = bp.make_registry(self._root / name, seed=seed, work_dir=self._root)
        self._endings.callback(registry.close)
        self.watch(self._root / name)
        registry.pools = bp.pools.Local(slots=SLOTS) if pool is None else pool
        return registry

    def watch(self, directory: Path) -> None:
        """End all that runs for a registry that the test makes in another way, if it does."""
        self._endings.callback(self._stop, RegistryPaths(directory))

    def end(self) -> None:
        """Stop all daemons, and fail where something is left."""
        self._endings.close()

    def _stop(self, paths: RegistryPaths) -> None:
        if not paths.owner.exists():
            return
        instance = read_owner(paths).instance
        show_logs(paths)
        try:
            control.stop(paths)
            self._until(lambda: not processes_of(paths), 30.0)
        finally:
            for process in processes_of(paths):
                process.kill()
            home = runtime_dir(instance)
            shutil.rmtree(home)
            home.with_suffix(".lock").unlink(missing_ok=True)


def processes_of(paths: RegistryPaths) -> list[psutil.Process]:
    """Return what runs for a registry."""
    words = (str(paths.root), read_owner(paths).instance)
    found = []
    for process in psutil.process_iter():
        try:
            line = "\0".join(process.cmdline())
            marked = process.environ().get("BATCHPILOT_INSTANCE") == words[1]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and (marked or any(word in line for word in words)):
            found.append(process)
    return found


def show_logs(paths: RegistryPaths) -> None:
    """Print what the daemons said: pytest shows it below a test that fails."""
    for log in sorted(paths.logs.glob("*.log")):
        print(f"== {log.name}\n{log.read_text(errors='replace')[-SHOWN:]}")  # noqa: T201 - as said


def numbers(registry: bp.Registry, column: str) -> list[int]:
    """Return a column of the states of all jobs: `attempt`, `charged`, ..."""
    with registry.database.read() as tx:
        values: list[int] = read_column(tx.db, column).tolist()  # type: ignore[arg-type]  # a Column
    return values


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test, and all it starts, a home of its own and no broker from outside."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.delenv("BATCHPILOT_BROKER_URL", raising=False)
    monkeypatch.delenv("BATCHPILOT_BROKER_PASSWORD_FILE", raising=False)
    return path


@pytest.fixture
def make_study(tmp_path: Path, until: Until) -> Iterator[MakeStudy]:
    """Give a function that makes registries whose daemons end with the test."""
    make = MakeStudy(tmp_path, until)
    yield make
    make.end()


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[MakeStudy]:
    """Give the same for registries that all tests of a file look at and none changes."""
    make = MakeStudy(tmp_path_factory.mktemp("shared"), until)
    yield make
    make.end()


@pytest.fixture
def port() -> Iterator[int]:
    """Lend a port of loopback."""
    with lent_port() as lent:
        yield lent


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Name a file that holds jobs back until a test makes it."""
    return tmp_path / "gate"


@pytest.fixture
def held(gate: Path) -> Held:
    """Give what holds a job back; its code goes with the job, as that of any local function."""
    path = str(gate)

    def wait(i: int = 0) -> int:
        end = time.monotonic() + HELD_SECONDS  # a test that has failed does not hold it for ever
        while not os.path.exists(path) and time.monotonic() < end:  # noqa: PTH110 - it is asked often
            time.sleep(0.01)
        return i

    return wait


@pytest.fixture
def run_script(tmp_path: Path) -> Run:
    """Give a function that runs Python in the test's directory, as a user does."""

    def run(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=script_environment(),
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def script_environment() -> dict[str, str]:
    """Return the environment of a user who has batchpilot installed, and nothing else of ours."""
    roots = [str(Path(__file__).parents[2] / name) for name in ("core", "agent", "broker")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
