"""What tests of odd places share: the command line, small disks, and brokers of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.end_to_end.failures.conftest import moments, tell

from batchpilot.cli import main

from .tools import OwnBroker, server_binary


__all__ = ["moments", "tell"]

Call = Callable[..., tuple[int, str]]
MakeBroker = Callable[..., OwnBroker]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Give a function that runs a command and returns its exit code and all that it wrote."""

    def run(*words: object) -> tuple[int, str]:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return code, "".join(capfd.readouterr())

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 24 MB; only root can mount one."""
    if os.getuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a small disk")
    path = tmp_path / "disk"
    path.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=24m,mode=700", "batchpilot-test", str(path)]
    mounted = subprocess.run(["/bin/mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: mounting is not permitted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["/bin/umount", "--lazy", str(path)], check=True)


@pytest.fixture
def make_broker(
    home: Path,  # noqa: ARG001 - it clears the environment, so it comes first
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[MakeBroker]:
    """Give a function that starts a broker as a site does, and names it to batchpilot."""
    ends = ExitStack()

    def make(
        *settings: str,
        binary: Path | None = None,
        home: Path | None = None,
        port: int = 0,
        address: str = "",
    ) -> OwnBroker:
        place = home or tmp_path / "own broker"
        broker = OwnBroker(binary or server_binary(), place, *settings, port=port)
        ends.callback(broker.stop)
        broker.start()
        monkeypatch.setenv("BATCHPILOT_BROKER_URL", address or broker.url)
        monkeypatch.setenv("BATCHPILOT_BROKER_PASSWORD_FILE", str(broker.password_file))
        return broker

    with ends:
        yield make
