"""What is told while broker, coordinator and agents are at work, or fail to."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import wait_until

from batchpilot import control
from batchpilot.registry.whole import Registry
from batchpilot.store.launches import LaunchFailure, note_failure, read_failures
from batchpilot.store.owner import read_owner
from batchpilot_broker.coordside import CoordinatorBroker

from .conftest import Call, Document


ROUNDS = 5
"""How often to try to see an agent become idle between two of its beats, which come every 5 s."""


def define(registry: Registry, gate: Path, jobs: int) -> None:
    def through(x: int, gate: str) -> int:
        from pathlib import Path  # noqa: PLC0415 - pickled by value
        from time import sleep  # noqa: PLC0415 - pickled by value

        while not Path(gate).exists():
            sleep(0.01)
        return x

    registry.batch_map(through, x=range(jobs), gate=str(gate))


def said(registry: Registry) -> list[tuple[str, int]]:
    """Return what each agent last said of itself, as far as the registry knows."""
    with registry.database.read() as tx:
        return [(row[4], row[6]) for row in tx.all("all_agents")]


def beats(registry: Registry) -> dict[str, int]:
    """Return how often each agent has said how it is."""
    instance = read_owner(registry.paths).instance
    with closing(CoordinatorBroker.open(registry.paths, instance)) as broker:
        return broker.beats()


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
    wait_until(lambda: any(failure.failures > 1 for failure in read_failures(registry.paths)))

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
    call: Call,
    document: Document,
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

    wait_until(failures)
    scratch.mkdir()
    assert call("wait", where, "--quiet", "--timeout", "60")[0] == 0

    wait_until(lambda: not failures())


def test_an_agent_is_idle_as_soon_as_its_jobs_have_ended(
    registry: Registry, tmp_path: Path, document: Document
) -> None:
    where, gate = registry.file_dir, tmp_path / "gate"
    define(registry, gate, jobs=2)

    def shown() -> list[tuple[str, int]]:
        known = control.agents(registry.paths)
        return [(agent["state"], agent["busy"]) for agent in known]

    def idle_between_two_beats() -> bool:
        gate.unlink(missing_ok=True)
        registry.submit_jobs([1, 2])
        wait_until(lambda: shown() == said(registry) == [("busy", 2)])
        before = beats(registry)
        gate.touch()
        assert registry.wait_for_jobs(timeout=60, progress=False)
        wait_until(lambda: shown() == [("idle", 0)])
        return beats(registry) == before

    assert any(idle_between_two_beats() for _ in range(ROUNDS))
    (listed,) = document("agents list", "agents", "list", where)["agents"]
    assert (listed["state"], listed["busy"]) == ("idle", 0)


def test_doctor_and_why_look_at_what_runs(
    registry: Registry,
    tmp_path: Path,
    call: Call,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("batchpilot.checkup.running.PATIENCE", 60.0)
    where, gate = registry.file_dir, tmp_path / "gate"
    define(registry, gate, jobs=3)
    registry.submit_jobs()
    wait_until(lambda: len(registry.find_running()) == 2)

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
