"""Waiting for jobs, and trying one out."""

# ruff: noqa: S311 - the generator that is seeded is what is tested

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until

import batchpilot as bp

from .conftest import Held, MakeStudy, numbers, script_environment


def gated(make: MakeStudy, held: Held, jobs: int = 2) -> bp.Registry:
    """Make a registry whose job 1 is held; the others raise."""

    def fun(i: int) -> int:
        if i > 1:
            raise ValueError(f"job {i}")
        held()
        return i

    registry = make()
    registry.batch_map(fun, i=range(1, jobs + 1))
    return registry


SCRIPT = """
import os, sys, time
import batchpilot as bp

def wait(i):
    while not os.path.exists("gate"):
        time.sleep(0.01)
    return i

reg = bp.make_registry("study", seed=1)
reg.pools = bp.pools.Local(slots=2)
reg.batch_map(wait, i=[1, 2])
reg.submit_jobs()
reg.wait_for_jobs()
"""


def test_an_interrupted_wait_leaves_the_jobs_running_and_tells_how_to_come_back(
    make_study: MakeStudy, tmp_path: Path, gate: Path, until: Until
) -> None:
    """Where stderr is no terminal, the wait says every ten seconds how far it is."""
    make_study.watch(tmp_path / "study")
    (tmp_path / "study.py").write_text(SCRIPT)
    words = tmp_path / "words"
    with words.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "study.py"], cwd=tmp_path, env=script_environment(), stderr=err
        )
        try:
            until(lambda: "0 of 2 jobs ended, 2 running\n" in words.read_text())
            process.send_signal(signal.SIGINT)
            code = process.wait(30)
        finally:
            process.kill()
            process.wait()

    said = words.read_text()
    assert code in (130, -signal.SIGINT)
    assert "The jobs go on." in said
    assert f"bp.load_registry({str(tmp_path / 'study')!r}).wait_for_jobs()" in said
    with bp.load_registry(tmp_path / "study") as registry:
        assert registry.find_running() == [1, 2]
        gate.touch()
        assert registry.wait_for_jobs(timeout=90)
        assert registry.reduce_results_list() == [1, 2]
        assert numbers(registry, "attempt") == [1, 1]


def test_a_timeout_returns_false_with_a_warning_and_the_jobs_go_on(
    make_study: MakeStudy, gate: Path, held: Held
) -> None:
    registry = gated(make_study, held, jobs=1)
    registry.submit_jobs()

    with pytest.warns(UserWarning, match="Timeout reached: 1 of 1 jobs have not ended"):
        assert registry.wait_for_jobs(timeout=0.2) is False

    gate.touch()
    assert registry.wait_for_jobs(timeout=90) is True


def test_a_wait_can_stop_at_the_first_error(make_study: MakeStudy, gate: Path, held: Held) -> None:
    registry = gated(make_study, held)
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=90, stop_on_error=True) is False
    assert registry.find_error() == [2]
    assert registry.find_on_system() == [1]

    gate.touch()
    assert registry.wait_for_jobs(timeout=90) is False
    assert registry.wait_for_jobs(1) is True


def test_a_wait_can_stop_at_the_first_job_that_expires(
    make_study: MakeStudy, gate: Path, held: Held
) -> None:
    registry = make_study()
    registry.batch_map(held, i=[1, 2])
    registry.submit_jobs(1)
    registry.submit_jobs(2, {"walltime": 0.5})

    with pytest.warns(UserWarning, match="disappeared"):
        assert registry.wait_for_jobs(timeout=90, stop_on_expire=True) is False

    assert registry.find_expired() == [2]
    assert registry.find_on_system() == [1]
    with pytest.raises(bp.errors.JobNotDone, match=r"job 2 expired.*walltime of 0\.5 s"):
        registry.load_result(2)
    gate.touch()
    assert registry.wait_for_jobs(1, timeout=90)


def test_jobs_that_are_not_submitted_are_not_waited_for(make_study: MakeStudy) -> None:
    registry = make_study(pool=bp.pools.Interactive())
    registry.batch_map(lambda i: i, i=[1, 2])
    registry.submit_jobs(1)

    with pytest.warns(UserWarning, match="unsubmitted"):
        assert registry.wait_for_jobs([1, 2], timeout=10) is True

    assert registry.wait_for_jobs(timeout=10) is True


def test_a_wait_ends_when_its_jobs_are_killed(
    make_study: MakeStudy, held: Held, until: Until
) -> None:
    registry = make_study()
    registry.batch_map(held, i=[1, 2])
    registry.submit_jobs()

    def kill() -> None:
        with bp.load_registry(registry.file_dir) as other:
            until(lambda: other.find_running() == [1, 2])
            other.kill_jobs()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.warns(UserWarning, match="2 of the jobs were killed"):
        assert registry.wait_for_jobs(timeout=90) is False
    killer.join()

    assert registry.find_not_submitted() == [1, 2]


@pytest.fixture
def trial(make_study: MakeStudy) -> bp.Registry:
    """Give a registry that is not submitted; its job 2 fails."""

    def fun(i: int, job: Any) -> tuple[int, float, str]:
        if i == 2:
            raise ValueError("tried and failed")
        os.write(1, b"said\n")
        return job.seed, random.random(), os.getcwd()  # noqa: PTH109 - plain in a job

    registry = make_study(seed=5)
    registry.batch_map(fun, i=[1, 2])
    return registry


@pytest.mark.parametrize("external", [False, True], ids=["here", "external"])
def test_a_job_is_tried_out_with_its_seed_and_nothing_is_changed(
    trial: bp.Registry, external: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, generator, cwd = trial.get_status(), random.getstate(), Path.cwd()

    result = trial.test_job(1, external=external)

    assert result == (6, random.Random(6).random(), str(tmp_path))
    assert capfd.readouterr().out == "said\n"
    assert trial.get_status() == before
    assert numbers(trial, "attempt") == [0, 0]
    assert (random.getstate(), Path.cwd()) == (generator, cwd)


def test_the_exception_of_a_job_tried_out_here_arrives_as_it_is(trial: bp.Registry) -> None:
    with pytest.raises(ValueError, match="tried and failed"):
        trial.test_job(2)


def test_a_job_that_fails_in_a_fresh_process_is_an_error_with_a_remedy(
    trial: bp.Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        bp.errors.JobFailed, match=r"test_job\(\) failed for job with id=2"
    ) as caught:
        trial.test_job(2, external=True)

    assert "external=False" in caught.value.remedy
    assert "ValueError: tried and failed" in capfd.readouterr().err
    assert trial.find_not_submitted() == [1, 2]
