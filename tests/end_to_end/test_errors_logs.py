"""What goes wrong in jobs, what they print, and what ends them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp
from batchpilot import control
from batchpilot_broker.host import process_start

from ..conftest import Until
from .conftest import MakeStudy, numbers


LIVE_LOG_SECONDS = 30.0
"""A running job's log is mirrored after 10 s; the rest is for a machine that others use too."""


def wait_for(path: str) -> None:
    """Wait in a job until a test makes a file; a test that forgets to does not keep the job."""
    end = time.monotonic() + 100
    while not os.path.exists(path) and time.monotonic() < end:  # noqa: PTH110 - plain in a job
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return process_start(pid) != 0


@pytest.fixture(scope="module")
def mixed(make_shared: MakeStudy) -> bp.Registry:
    """Give five jobs that print in five ways, and one that raises."""

    def speak(way: str) -> str:
        import ctypes  # noqa: PLC0415 - inside the job
        import subprocess  # noqa: PLC0415 - as above

        if way == "print":
            print("by print")  # noqa: T201 - what is tested
        elif way == "subprocess":
            subprocess.run("echo by echo; echo by echo 2 >&2", shell=True, check=True)  # noqa: S602, S607 - as above
        elif way == "fd":
            os.write(1, b"by os.write\n")
            os.write(2, b"by os.write 2\n")
        elif way == "c":
            libc = ctypes.CDLL(None)
            libc.puts(b"by libc")
            libc.fflush(None)
        elif way == "stderr":
            sys.stderr.write("by stderr, without an end of line")
        elif way == "raise":
            print("so far so good")  # noqa: T201 - as above
            raise ValueError("no such way")
        return way

    registry = make_shared("mixed")
    registry.batch_map(speak, way=["print", "subprocess", "fd", "c", "stderr", "silent", "raise"])
    registry.submit_jobs()
    assert not registry.wait_for_jobs(timeout=90)
    return registry


@pytest.mark.parametrize(
    ("job", "lines"),
    [
        (1, ["by print"]),
        (2, ["by echo", "by echo 2"]),
        (3, ["by os.write", "by os.write 2"]),
        (4, ["by libc"]),
        (5, ["by stderr, without an end of line"]),
        (6, []),
    ],
)
def test_the_log_has_what_was_written_in_any_way(
    mixed: bp.Registry, job: int, lines: list[str]
) -> None:
    assert mixed.get_log(job) == lines


def test_a_job_that_raises_is_in_state_error(mixed: bp.Registry) -> None:
    status = mixed.get_status()

    assert (status.done, status.error, status.expired) == (6, 1, 0)
    assert mixed.find_error() == [7]


def test_error_messages_name_the_exception(mixed: bp.Registry) -> None:
    table = mixed.get_error_messages()

    assert table.to_dict("records") == [
        {"job_id": 7, "terminated": True, "error": True, "message": "ValueError: no such way"}
    ]


def test_loading_the_result_of_a_failed_job_raises_with_a_remedy(mixed: bp.Registry) -> None:
    with pytest.raises(bp.errors.JobFailed, match="job 7 failed: ValueError: no such way") as caught:
        mixed.load_result(7)

    assert "get_log(7)" in caught.value.remedy


def test_the_log_of_a_failed_job_ends_with_the_users_part_of_the_traceback(
    mixed: bp.Registry,
) -> None:
    log = mixed.get_log(7)

    assert log[:2] == ["so far so good", "Traceback (most recent call last):"]
    assert log[-1] == "ValueError: no such way"
    assert not any("batchpilot_agent" in line for line in log)


def test_the_log_of_a_running_job_can_be_read(
    make_study: MakeStudy, tmp_path: Path, until: Until
) -> None:
    gate = tmp_path / "gate"

    def wait(i: int) -> int:
        print(f"begun {i}")  # noqa: T201 - a job's output
        wait_for(str(gate))
        print("done")  # noqa: T201 - as above
        return i

    registry = make_study()
    registry.batch_map(wait, i=[1])
    registry.submit_jobs()
    until(lambda: registry.find_running() == [1])
    until(lambda: registry.get_log(1) == ["begun 1"], LIVE_LOG_SECONDS)

    gate.touch()
    assert registry.wait_for_jobs(timeout=90)
    assert registry.get_log(1) == ["begun 1", "done"]


def test_killing_one_of_two_running_jobs_ends_its_processes_alone(
    make_study: MakeStudy, tmp_path: Path, until: Until
) -> None:
    gate = tmp_path / "gate"

    def wait(i: int) -> int:
        import subprocess  # noqa: PLC0415 - inside the job

        child = subprocess.Popen(["sleep", "100"])
        (tmp_path / f"pids{i}").write_text(f"{os.getpid()} {child.pid} ")
        wait_for(str(gate))
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
    make_study: MakeStudy, tmp_path: Path, until: Until
) -> None:
    gate = tmp_path / "gate"

    def wait(i: int) -> int:
        (tmp_path / f"ran{i}").touch()
        wait_for(str(gate))
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
    make_study: MakeStudy, tmp_path: Path, until: Until
) -> None:
    gate = tmp_path / "gate"
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(lambda i: wait_for(str(gate)), i=[1, 2])
    registry.submit_jobs()
    until(lambda: registry.find_running() == [1])

    for refused in (lambda: registry.reset_jobs(1), lambda: registry.submit_jobs(1)):
        with pytest.raises(bp.errors.SubmissionError, match="on the system") as caught:
            refused()
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
    make_study: MakeStudy, tmp_path: Path, until: Until
) -> None:
    """Job 1 gives itself back when it is told to go, job 2 does not listen, the rest never began."""
    gate = tmp_path / "gate"

    def wait(i: int) -> tuple[int, int]:
        def give_back(*_: object) -> None:
            raise bp.HandBack

        signal.signal(signal.SIGTERM, give_back if i == 1 else signal.SIG_IGN)
        (tmp_path / f"begun{i}").touch()
        wait_for(str(gate))
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
    """Tell a process to go, as somebody impatient does again and again; tell whether it has gone."""
    if not alive(pid):
        return True
    os.kill(pid, signal.SIGTERM)
    return False


def die_by_exit() -> None:
    os._exit(3)


def die_by_segmentation_fault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("die", "reason"),
    [(die_by_exit, "exit code 3"), (die_by_segmentation_fault, "signal")],
    ids=["exit", "segv"],
)
def test_a_job_that_kills_its_process_costs_itself_alone(
    make_study: MakeStudy, tmp_path: Path, die: Any, reason: str
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
