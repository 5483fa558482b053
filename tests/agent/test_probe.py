"""What a probe writes down, and what it says where it is not in the registry that asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from batchpilot_agent.launch import clean_environment, probe_command
from batchpilot_agent.probe import reach
from batchpilot_agent.settings import Exit
from batchpilot_broker.access import Access, write_access
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import host_name
from batchpilot_broker.paths import RegistryPaths


@pytest.fixture
def paths(tmp_path: Path) -> RegistryPaths:
    made = RegistryPaths(tmp_path / "registry")
    made.allocation("a").mkdir(parents=True)
    return made


@pytest.fixture
def listener() -> socket.socket:
    """Give a socket that takes connections and answers nothing."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


def access_to(*urls: str) -> Access:
    return Access(urls=urls, password="secret word", generation=1, host=host_name(), boot="b")  # noqa: S106 - of nobody


def run(paths: RegistryPaths) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*probe_command(paths, sys.executable, "a"), "--element", "1"],
        env=clean_environment(os.environ),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_found_is_written_with_the_nonce_and_for_nobody_else(paths: RegistryPaths) -> None:
    write_json(paths.probe("a", "asked"), {"nonce": "n1"})
    write_access(paths, access_to("unix:///no/socket", "redis://127.0.0.1:1"))

    ended = run(paths)
    report = read_json(paths.probe("a", "report"))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert report is not None
    assert report["nonce"] == "n1"
    assert report["packages"]["redis"]
    assert report["scratch"]["free"] > 0
    assert report["cores"] >= 1
    assert [address["url"].split(":")[0] for address in report["broker"]] == ["unix", "redis"]
    assert all("does not answer" in address["words"] for address in report["broker"])
    assert "secret word" not in paths.probe("a", "report").read_text()
    assert paths.probe("a", "report").stat().st_mode & 0o077 == 0
    assert (read_json(paths.probe("a", "begun")) or {})["nonce"] == "n1"


def test_the_socket_of_another_host_is_no_address_here(paths: RegistryPaths) -> None:
    write_json(paths.probe("a", "asked"), {"nonce": "n1"})
    write_access(paths, replace(access_to("unix:///no/socket"), host="far-away"))
    run(paths)

    assert (read_json(paths.probe("a", "report")) or {})["broker"] == []


def test_in_another_directory_it_says_so_and_writes_nothing(paths: RegistryPaths) -> None:
    ended = run(paths)

    assert ended.returncode == Exit.REGISTRY_GONE
    assert f"{paths.root} on {host_name()} is another directory" in ended.stderr
    assert list(paths.allocation("a").iterdir()) == []


def test_who_does_not_answer_in_time_is_told_so(listener: socket.socket) -> None:
    url = f"redis://127.0.0.1:{listener.getsockname()[1]}"

    told = reach(access_to(url), url, patience=0.2)

    assert "Timeout" in told["words"]
    listener.close()
