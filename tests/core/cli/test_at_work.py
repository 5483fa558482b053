"""The commands while broker, coordinator and agents are at work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import Until

from batchpilot import control
from batchpilot.cli import main
from batchpilot.registry.whole import Registry
from batchpilot_broker.files import read_json


WITHIN = 30.0


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Return the file that `define` jobs wait for."""
    return tmp_path / "gate"


def define(registry: Registry, gate: Path, jobs: int = 3) -> None:
    def through(x: int, gate: str) -> int:
        from pathlib import Path  # noqa: PLC0415 - pickled by value
        from time import sleep  # noqa: PLC0415 - pickled by value

        print(f"job {x} waits", flush=True)  # noqa: T201 - what `log` shows
        while not Path(gate).exists():
            sleep(0.01)
        print("and ends", end="")  # noqa: T201 - what `log` shows
        return x

    registry.batch_map(through, x=range(jobs), gate=str(gate))


def start_cli(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(
                sys.executable,
                "-c",
                "import sys; from batchpilot.cli import main; sys.exit(main())",
            ),
            *map(str, words),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_document(capfd: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0
    document: dict[str, Any] = json.loads(capfd.readouterr().out)
    return document


def test_a_run_is_submitted_watched_and_waited_for(
    registry: Registry, gate: Path, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    where = registry.file_dir
    define(registry, gate)

    assert main(["submit", str(where)]) == 0
    assert capfd.readouterr().out == "3 jobs submitted\n"
    until(lambda: len(registry.find_running()) == 2)

    status = read_document(capfd, "status", where)
    assert (status["jobs"]["running"], status["jobs"]["queued"]) == (2, 1)
    assert [(use["pool"], use["slots"]) for use in status["agents"]] == [("local", 2)]
    assert status["coordinator"]["running"]
    assert status["broker"]["running"]

    agent = read_document(capfd, "agents", "list", where)["agents"][0]
    assert psutil.pid_exists(agent["pid"])
    assert main(["wait", str(where), "--timeout", "0.1", "--quiet"]) == 4

    gate.touch()
    assert main(["wait", str(where), "--quiet"]) == 0
    assert "  ---- Done    : 3 (100.0%)" in capfd.readouterr().out


def test_the_password_of_the_broker_is_not_told(
    registry: Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    where = str(registry.file_dir)

    assert main(["broker", "start", where]) == 0
    told = capfd.readouterr().out
    document = read_document(capfd, "broker", "status", where)
    office = read_document(capfd, "coordinator", "status", where)

    password = (read_json(registry.paths.broker) or {})["password"]
    assert told.startswith("broker: running, ")
    assert document["running"]
    assert len(password) > 10
    assert password not in told + json.dumps(document)
    assert psutil.pid_exists(office["pid"])

    assert main(["coordinator", "stop", where]) == 0
    assert not psutil.pid_exists(office["pid"])
    assert not read_document(capfd, "broker", "status", where)["running"]


def test_a_log_is_followed_until_the_job_has_ended(
    registry: Registry, gate: Path, until: Until
) -> None:
    define(registry, gate, jobs=1)
    registry.submit_jobs()

    follower = start_cli("log", registry.file_dir, 1, "-f")
    until(lambda: len(registry.find_running()) == 1)
    assert follower.poll() is None
    gate.touch()
    out, err = follower.communicate(timeout=WITHIN)

    assert (out, err, follower.returncode) == ("job 0 waits\nand ends\n", "", 0)


def test_an_interrupted_wait_ends_with_130_and_the_jobs_go_on(
    registry: Registry, gate: Path, until: Until
) -> None:
    define(registry, gate, jobs=1)
    registry.submit_jobs()
    waiting = start_cli("wait", registry.file_dir)
    until(lambda: len(registry.find_running()) == 1)
    reader = psutil.Process(waiting.pid)
    until(lambda: any(Path(file.path).suffix == ".db" for file in reader.open_files()))

    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=WITHIN)

    assert waiting.returncode == 130, err
    assert "Traceback" not in err
    assert len(registry.find_running()) == 1
    gate.touch()


def test_a_killed_job_is_as_if_never_submitted(
    registry: Registry, gate: Path, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    where = str(registry.file_dir)
    define(registry, gate, jobs=2)
    registry.submit_jobs()
    until(lambda: len(registry.find_running()) == 2)

    assert main(["kill", where, "1"]) == 0
    assert capfd.readouterr().out == "1 job killed\n"
    gate.touch()
    assert main(["wait", where, "--quiet"]) == 0
    assert list(registry.find_not_submitted()) == [1]


def test_agents_can_be_started_stopped_and_resumed(
    registry: Registry, gate: Path, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    where = str(registry.file_dir)
    gate.touch()
    define(registry, gate)

    assert main(["agents", "start", where, "-n", "2"]) == 0
    started = set(capfd.readouterr().out.split())

    def there() -> set[str]:
        return {agent["id"] for agent in read_document(capfd, "agents", "list", where)["agents"]}

    until(lambda: there() == started)
    assert len(started) == 2

    assert main(["agents", "stop", where]) == 0
    assert set(capfd.readouterr().out.split()) == started
    until(lambda: not there())
    registry.submit_jobs()
    assert main(["wait", where, "--timeout", "2", "--quiet"]) == 4

    assert main(["agents", "resume", where]) == 0
    assert main(["wait", where, "--quiet"]) == 0


def test_a_broker_that_does_not_answer_ends_with_69(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_URL", "redis://127.0.0.1:1")

    asked = start_cli("broker", "start", registry.file_dir)
    out, err = asked.communicate(timeout=WITHIN)

    assert (asked.returncode, out) == (69, ""), err
    assert "Remedy: " in err


def test_the_coordinator_runs_in_the_foreground_until_it_is_interrupted(
    registry: Registry, until: Until
) -> None:
    running = start_cli("coordinator", "run", registry.file_dir)
    until(lambda: control.coordinator_status(registry.paths)["running"])
    office = control.coordinator_status(registry.paths)

    running.send_signal(signal.SIGINT)
    running.communicate(timeout=WITHIN)

    assert running.returncode == 0
    assert not psutil.pid_exists(office["pid"])
