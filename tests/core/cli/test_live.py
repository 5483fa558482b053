"""What is told while broker, coordinator and agents are at work, or fail to."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from tests.conftest import Until

from batchpilot import control
from batchpilot.registry.whole import Registry
from batchpilot.store.launches import LaunchFailure, note_failure

from .conftest import Call, Document


BEAT = 5.0
"""Seconds between two words of an agent about itself."""


def define(registry: Registry, gate: Path, jobs: int) -> None:
    def through(x: int, gate: str) -> int:
        from pathlib import Path  # noqa: PLC0415 - pickled by value
        from time import sleep  # noqa: PLC0415 - pickled by value

        while not Path(gate).exists():
            sleep(0.01)
        return x

    registry.batch_map(through, x=range(jobs), gate=str(gate))


def test_agents_that_fail_to_start_are_told_wherever_one_looks(
    registry: Registry,
    tmp_path: Path,
    call: Call,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = registry.file_dir
    define(registry, tmp_path, jobs=1)
    monkeypatch.setenv("BATCHPILOT_SCRATCH", str(tmp_path / "gone"))
    registry.submit_jobs()

    code, _, err = call("wait", where, "--quiet", "--timeout", "8")

    assert code == 4
    told = [line for line in err.splitlines() if "failed to start" in line][-1]
    assert re.fullmatch(
        r"Warning: agents of pool local failed to start \d times in a row, last [\d.]+ s ago: "
        r"FileNotFoundError: .*/gone/batchpilot-.*",
        told,
    )
    (failure,) = document("agents list", "agents", "list", where)["failures"]
    assert failure["pool"] == "local"
    assert failure["failures"] > 1
    assert "Traceback" in failure["words"]
    assert "FileNotFoundError" in call("agents", "list", where)[2]
    assert "launch-failed" in [
        reason["cause"] for reason in document("why", "why", where, 1)["reasons"]
    ]
    assert "bad   agents: agents of pool local failed to start" in call("doctor", where)[1]


def test_a_paused_pool_is_told_wherever_one_looks(
    registry: Registry, call: Call, document: Document
) -> None:
    where = registry.file_dir
    words = "no such partition"
    failure = LaunchFailure(pool="slurm", time=0.0, failures=1, words=words, paused=True)
    with registry.database.write() as tx:
        note_failure(tx, failure)

    assert "Trouble: agents: agents of pool slurm failed to start" in call("status", where)[1]
    (trouble,) = document("status", "status", where)["trouble"]
    assert "no such partition; the pool is paused until" in trouble
    (listed,) = document("agents list", "agents", "list", where)["failures"]
    assert (listed["what"], listed["paused"]) == ("start", True)


def test_failures_are_forgotten_when_an_agent_comes(
    registry: Registry,
    tmp_path: Path,
    document: Document,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = registry.file_dir
    (tmp_path / "gate").touch()
    define(registry, tmp_path / "gate", jobs=1)
    scratch = tmp_path / "later"
    monkeypatch.setenv("BATCHPILOT_SCRATCH", str(scratch))
    registry.submit_jobs()

    def failures() -> object:
        return document("agents list", "agents", "list", where)["failures"]

    until(failures)
    scratch.mkdir()
    assert registry.wait_for_jobs(timeout=60, progress=False)

    until(lambda: not failures())


def test_an_agent_is_idle_as_soon_as_its_jobs_have_ended(
    registry: Registry, tmp_path: Path, document: Document, until: Until
) -> None:
    where, gate = registry.file_dir, tmp_path / "gate"
    define(registry, gate, jobs=2)
    registry.submit_jobs()

    def shown() -> list[tuple[str, int]]:
        known = control.agents(registry.paths)
        return [(agent["state"], agent["busy"]) for agent in known]

    until(lambda: shown() == [("busy", 2)])
    gate.touch()
    ended = time.monotonic()
    assert registry.wait_for_jobs(timeout=60, progress=False)

    until(lambda: shown() == [("idle", 0)])
    assert time.monotonic() - ended < BEAT / 2
    (listed,) = document("agents list", "agents", "list", where)["agents"]
    assert (listed["state"], listed["busy"]) == ("idle", 0)


def test_doctor_and_why_look_at_what_runs(
    registry: Registry, tmp_path: Path, call: Call, document: Document, until: Until
) -> None:
    where, gate = registry.file_dir, tmp_path / "gate"
    define(registry, gate, jobs=3)
    registry.submit_jobs()
    until(lambda: len(registry.find_running()) == 2)

    told = document("doctor", "doctor", where)
    queued, running = (document("why", "why", where, job)["reasons"] for job in (3, 1))

    health = {check["check"]: check["health"] for check in told["checks"]}
    assert {
        health[name] for name in ("coordinator", "broker", "messages", "agents", "metrics")
    } == {"ok"}
    assert queued[-1]["text"] == "2 of 2 slots at 1 agent for it are busy"
    assert [reason["cause"] for reason in running] == ["running"]
    assert call("repair", where)[0] == 1
    gate.touch()
