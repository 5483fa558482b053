"""Jobs that are ended, end themselves the hard way, are taken back or handed back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conftest import Until

import batchpilot as bp
from batchpilot import control
from batchpilot_broker.host import process_start

from .conftest import Held, MakeStudy, numbers


def alive(pid: int) -> bool:
    return process_start(pid) != 0


def test_killing_one_of_two_running_jobs_ends_its_processes_alone(
    make_study: MakeStudy, tmp_path: Path, gate: Path, held: Held, until: Until
) -> None:
    def wait(i: int) -> int:
        import subprocess  # noqa: PLC0415 - inside the job

        child = subprocess.Popen(["sleep", "100"])  # noqa: S607 - whichever it is
        (tmp_path / f"pids{i}").write_text(f"{os.getpid()} {child.pid} ")
        held()
        child.kill()
        child.wait()
        return i

    def pids(job: int) -> list[int]:
        path = tmp_path / f"pids{job}"
        words = path.read_text() if path.exists() else ""
        return [int(word) for word in words.split()] if words.endswith(" ") else []

    registry = make_study()
    registry.batch_map(wait, i=[1, 2])
    registry.submit_jobs()
    until(lambda: registry.find_running() == [1, 2] and pids(1) and pids(2))

    assert registry.kill_jobs(1) == [1]
    until(lambda: not any(map(alive, pids(1))))
    assert registry.find_not_submitted() == [1]
    assert registry.find_running() == [2]
    assert all(map(alive, pids(2)))

    gate.touch()
    assert registry.wait_for_jobs(timeout=90)
    assert registry.find_done() == [2]
    registry.submit_jobs(1)
    assert registry.wait_for_jobs(timeout=90)
    assert registry.reduce_results_list() == [1, 2]


def test_queued_jobs_that_are_killed_never_run_and_can_be_submitted_again(
    make_study: MakeStudy, tmp_path: Path, gate: Path, held: Held, until: Until
) -> None:
    def wait(i: int) -> int:
        (tmp_path / f"ran{i}").touch()
        held()
        return i

    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(wait, i=range(1, 6))
    registry.submit_jobs()
    until(lambda: registry.find_running() == [1])

    assert registry.kill_jobs([3, 4, 5]) == [3, 4, 5]
    gate.touch()
    assert registry.wait_for_jobs(timeout=90)
    assert registry.find_done() == [1, 2]
    assert registry.find_not_submitted() == [3, 4, 5]
    assert not (tmp_path / "ran4").exists()

    registry.submit_jobs([4])
    assert registry.wait_for_jobs(timeout=90)
    assert registry.find_done() == [1, 2, 4]


def test_a_job_on_the_system_is_neither_reset_nor_submitted_again(
    make_study: MakeStudy, gate: Path, held: Held, until: Until
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(held, i=[1, 2])
    registry.submit_jobs()
    until(lambda: registry.find_running() == [1])

    for refused in (registry.reset_jobs, registry.submit_jobs):
        with pytest.raises(bp.errors.SubmissionError, match="on the system") as caught:
            refused(1)
        assert "kill" in caught.value.remedy

    gate.touch()
    assert registry.wait_for_jobs(timeout=90)


def test_a_reset_job_is_as_if_never_submitted_and_runs_again(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    mended = tmp_path / "mended"

    def fragile(i: int) -> int:
        if i == 2 and not mended.exists():
            raise RuntimeError("not yet")
        return i

    registry = make_study()
    registry.batch_map(fragile, i=[1, 2, 3])
    registry.submit_jobs()
    assert not registry.wait_for_jobs(timeout=90)

    assert registry.reset_jobs([1, 2]) == [1, 2]
    assert registry.find_not_submitted() == [1, 2]
    with pytest.raises(bp.errors.JobNotDone, match="not submitted"):
        registry.load_result(1)

    mended.touch()
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=90)
    assert registry.reduce_results_list() == [1, 2, 3]
    assert numbers(registry, "attempt") == [2, 2, 1]


def test_a_failed_job_can_be_submitted_again_at_once(make_study: MakeStudy, tmp_path: Path) -> None:
    mended = tmp_path / "mended"

    def fragile(i: int) -> int:
        if not mended.exists():
            raise RuntimeError("not yet")
        return i

    registry = make_study()
    registry.batch_map(fragile, i=[1, 2])
    registry.submit_jobs()
    assert not registry.wait_for_jobs(timeout=90)

    mended.touch()
    registry.submit_jobs(registry.find_error())
    assert registry.wait_for_jobs(timeout=90)
    assert registry.get_status().error == 0


def test_an_agent_told_to_go_hands_its_jobs_back_uncharged_and_the_next_one_finishes_them(
    make_study: MakeStudy, tmp_path: Path, gate: Path, held: Held, until: Until
) -> None:
    """Job 1 gives itself back when told to go, job 2 does not listen, the others never began."""

    def wait(i: int) -> tuple[int, int]:
        def give_back(*_: object) -> None:
            raise bp.HandBack

        signal.signal(signal.SIGTERM, give_back if i == 1 else signal.SIG_IGN)
        (tmp_path / f"begun{i}").touch()
        held()
        return i, os.getppid()

    registry = make_study()
    registry.batch_map(wait, i=range(1, 7))
    registry.submit_jobs()
    until(lambda: (tmp_path / "begun1").exists() and (tmp_path / "begun2").exists())
    until(lambda: len(registry.find_running()) == 2)
    (agent,) = control.agents(registry.paths)
    until(lambda: gone_when_told(agent["pid"]))
    gate.touch()

    assert registry.wait_for_jobs(timeout=90)
    results = registry.reduce_results_list()
    assert [i for i, _ in results] == [1, 2, 3, 4, 5, 6]
    assert len({template for _, template in results}) == 1
    assert agent["id"] not in set(registry.get_job_table()["batch_id"])
    assert numbers(registry, "charged") == [0] * 6
    assert min(numbers(registry, "attempt")[:2]) == 2


def gone_when_told(pid: int) -> bool:
    """Tell a process to go, again and again as the impatient do; return whether it has gone."""
    if not alive(pid):
        return True
    with suppress(ProcessLookupError):  # it may have gone just now
        os.kill(pid, signal.SIGTERM)
    return False


@pytest.mark.parametrize(
    ("die", "reason"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "signal"),
    ],
    ids=["exit", "segv"],
)
def test_a_job_that_kills_its_process_costs_itself_alone(
    make_study: MakeStudy, tmp_path: Path, die: Callable[[], None], reason: str
) -> None:
    """It is tried three times; the jobs of its chunk are done as if nothing had happened."""

    def work(i: int) -> int:
        with (tmp_path / f"tries{i}").open("a") as tries:
            tries.write("x")
        if i == 60:
            die()
        return i

    registry = make_study()
    registry.batch_map(work, i=range(1, 101))
    registry.submit_jobs()

    assert not registry.wait_for_jobs(timeout=90)
    assert registry.find_expired() == [60]
    assert len(registry.find_done()) == 99
    assert numbers(registry, "charged") == [3 * (i == 60) for i in range(1, 101)]
    assert (tmp_path / "tries60").read_text() == "xxx"
    assert all((tmp_path / f"tries{i}").read_text() == "x" for i in range(1, 101) if i != 60)
    with pytest.raises(bp.errors.JobNotDone, match=f"job 60 expired.*{reason}"):
        registry.load_result(60)
