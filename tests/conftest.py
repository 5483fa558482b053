"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Protocol

import pytest
from hypothesis import settings
from tests.order import mixed


# What is slow on a busy machine is not wrong.
settings.register_profile("here", deadline=None, max_examples=50)
settings.load_profile("here")

# Daemons start faster when they find their modules compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What is started in the background may ignore Ctrl-C, and all its children with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Until(Protocol):
    """Wait for a condition, and fail where it does not come true in time."""

    def __call__(self, condition: Callable[[], object], seconds: float = ...) -> None:
        """Look at the condition again and again."""


AsNobody = Callable[..., subprocess.CompletedProcess[str]]


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        assert waited < seconds, f"it did not come true within {seconds:.0f} s"
        time.sleep(min(0.005 + waited / 20, 0.05))  # what takes long is asked less often


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files that wait beside files that compute."""
    files = dict.fromkeys(item.nodeid.partition("::")[0] for item in items)
    places = {file: place for place, file in enumerate(mixed(list(files)))}
    items.sort(key=lambda item: places[item.nodeid.partition("::")[0]])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures that tests have measured: recovery times, seeds of random moments."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    figures = [
        (r.nodeid, text) for r in reports for name, text in r.user_properties if name == "figure"
    ]
    for test, figure in sorted(set(figures)):
        terminalreporter.write_line(f"{test.rpartition('::')[2]}: {figure}")


@pytest.fixture(scope="session")
def until() -> Until:
    return wait_until


@pytest.fixture(scope="session")
def as_nobody() -> AsNobody:
    """Give a function that runs a program as another Unix user; only root can."""
    runuser = shutil.which("runuser")
    if os.getuid() != 0 or runuser is None:
        pytest.skip("NOT TESTED: only root can become another user")

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [runuser, "-u", "nobody", "--", *map(str, words)],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("true").returncode == 0
    return run
