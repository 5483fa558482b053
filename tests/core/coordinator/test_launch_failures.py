"""Agents that fail to start: tried again after growing pauses, their last words kept."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from batchpilot.coordinator.happenings import LaunchFailed
from batchpilot.coordinator.scaler import Scaler, _Starting
from batchpilot.store.launches import RECENT, LaunchFailure, launch_failures, note_failure
from batchpilot_agent.settings import Exit

from .conftest import Bench


def noted(bench: Bench, now: float = 0.0) -> list[LaunchFailure]:
    with bench.desk.db.read() as tx:
        return launch_failures(tx, now)


def end(scaler: Scaler, code: int, agent: str = "a1") -> None:
    """Let an agent that was started have ended with an exit code."""
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    process.wait()
    scaler._started[agent] = _Starting("local", process)


def test_the_last_words_of_an_agent_that_did_not_start_are_kept(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHPILOT_SCRATCH", str(tmp_path / "gone"))
    bench.book.define(1)
    bench.book.queue([1])
    scaler = Scaler(bench.desk)
    for _ in range(2):
        scaler.tick(100.0)
        for started in scaler._started.values():
            started.process.wait()
    scaler.tick(100.0)

    (failure,) = noted(bench, 100.0)

    assert (failure.pool, failure.time, failure.failures) == ("local", 100.0, 2)
    assert failure.last_word.startswith("FileNotFoundError: ")
    assert len(bench.told(LaunchFailed)) == 2
    assert not scaler._started  # the third waits for its pause


def test_an_agent_that_has_worked_did_not_fail_to_start(bench: Bench) -> None:
    scaler = Scaler(bench.desk)
    with bench.desk.db.write() as tx:
        note_failure(tx, LaunchFailure(pool="local", time=0.0, failures=3, words="before"))
    end(scaler, 69)
    bench.agent("a1")

    scaler.tick(0.0)

    assert noted(bench) == []
    assert bench.told(LaunchFailed) == []


def test_who_was_started_and_has_not_come_is_ended_with_the_coordinator(bench: Bench) -> None:
    scaler = Scaler(bench.desk)
    sleeping = [subprocess.Popen(["/bin/sleep", "600"]) for _ in range(2)]
    scaler._started = {f"a{n}": _Starting("local", p) for n, p in enumerate(sleeping, 1)}
    bench.agent("a2")
    scaler.tick(0.0)

    scaler.finish()

    assert sleeping[0].wait(60) == -signal.SIGTERM
    assert sleeping[1].poll() is None
    sleeping[1].kill()
    sleeping[1].wait()


def test_an_agent_that_is_refused_has_failed_to_start(bench: Bench) -> None:
    scaler = Scaler(bench.desk)
    bench.agent("a1")
    survey = bench.desk.survey
    stranger = replace(survey.agents["a1"], python="2.7")
    bench.desk.survey = replace(survey, agents={"a1": stranger})
    end(scaler, 76)

    scaler.tick(0.0)

    assert [failure.failures for failure in noted(bench)] == [1]


def test_old_failures_say_nothing_about_now(bench: Bench) -> None:
    with bench.desk.db.write() as tx:
        note_failure(tx, LaunchFailure(pool="local", time=50.0, failures=1, words=""))

    assert noted(bench, 50.0 + RECENT)[0].last_word == "it wrote nothing"
    assert noted(bench, 51.0 + RECENT) == []


def test_agents_that_come_and_cannot_work_are_started_after_growing_pauses(bench: Bench) -> None:
    scaler = Scaler(bench.desk)
    pauses = []
    for attempt in range(3):
        end(scaler, Exit.FAILED, f"b{attempt}")
        bench.agent(f"b{attempt}")
        scaler.tick(100.0)
        pauses.append(scaler._trouble["local"].until - 100.0)

    (failure,) = noted(bench, 100.0)

    assert pauses == [0.0, 1.0, 5.0]
    assert failure.failures == 3
