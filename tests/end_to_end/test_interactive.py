"""The pool `Interactive`: jobs run at the submission, here or in a fresh process."""

# ruff: noqa: NPY002, S311 - the generators that are seeded are what is tested

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batchpilot as bp
from batchpilot import control

from .conftest import MakeStudy, processes_of


HERE = bp.pools.Interactive()
OUTSIDE = bp.pools.Interactive(external=True)
BOTH = pytest.mark.parametrize("pool", [HERE, OUTSIDE], ids=["here", "external"])


def work(i: int, job: Any) -> dict[str, Any]:
    print(f"printed by {i}")  # noqa: T201 - a job's output
    os.write(2, b"written to fd 2\n")
    if i == 2:
        raise ValueError("two is too many")
    return {"seed": job.seed, "resources": dict(job.resources), "pid": os.getpid()}


def run(make: MakeStudy, pool: bp.pools.Pool, fun: Any = work) -> bp.Registry:
    registry = make(seed=10, pool=pool)
    registry.batch_map(fun, i=range(1, 4))
    registry.submit_jobs(resources={"walltime": 60})
    return registry


@BOTH
def test_states_are_final_when_the_submission_returns(
    make_study: MakeStudy, pool: bp.pools.Pool
) -> None:
    registry = run(make_study, pool)

    assert registry.find_done() == [1, 3]
    assert registry.find_error() == [2]
    assert registry.get_status().system == 0
    assert not registry.wait_for_jobs(timeout=10)


@BOTH
def test_results_seeds_and_resources_are_those_of_any_pool(
    make_study: MakeStudy, pool: bp.pools.Pool
) -> None:
    registry = run(make_study, pool)

    results = registry.reduce_results_list()
    assert [r["seed"] for r in results] == [11, 13]
    assert [r["resources"] for r in results] == [{"walltime": 60}] * 2
    assert ({r["pid"] for r in results} == {os.getpid()}) is (pool == HERE)


@BOTH
def test_logs_and_errors_are_kept(make_study: MakeStudy, pool: bp.pools.Pool) -> None:
    registry = run(make_study, pool)

    assert registry.get_log(1) == ["printed by 1", "written to fd 2"]
    assert registry.get_log(2)[-1] == "ValueError: two is too many"
    assert registry.get_error_messages()["message"].tolist() == ["ValueError: two is too many"]
    with pytest.raises(bp.errors.JobFailed, match="two is too many"):
        registry.load_result(2)


@BOTH
def test_no_daemon_is_started(make_study: MakeStudy, pool: bp.pools.Pool) -> None:
    registry = run(make_study, pool)

    assert not control.coordinator_status(registry.paths)["running"]
    assert not registry.paths.broker.exists()
    assert processes_of(registry.paths) == []


def change_all(i: int) -> int:
    """Change everything that a job can change in the process it runs in."""
    print("to the log")  # noqa: T201 - a job's output
    os.chdir("/")
    os.environ["CHANGED_BY_A_JOB"] = "yes"
    sys.path.insert(0, "/nowhere")
    sys.stdout = sys.stderr
    os.umask(0o777)
    random.random()
    np.random.random()
    return i


def session() -> dict[str, Any]:
    """Return what of this process a user would miss."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "files": [os.fstat(fd)[:3] for fd in range(3)],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "originals": (sys.__stdin__, sys.__stdout__, sys.__stderr__),
        "cwd": Path.cwd(),
        "environ": dict(os.environ),
        "path": list(sys.path),
        "finders": list(sys.meta_path),
        "umask": umask,
        "interrupt": signal.getsignal(signal.SIGINT),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]  # the stubs know several kinds of state
    }


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_session_is_as_it_was_before(
    make_study: MakeStudy, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = make_study(pool=HERE)
    registry.batch_map(change_all, i=[1, 2])
    before = session()

    registry.submit_jobs()
    after = session()

    assert registry.reduce_results_list() == [1, 2]
    assert [name for name in before if before[name] != after[name]] == []
    print("to the terminal")  # noqa: T201 - what is tested
    assert capfd.readouterr().out == "to the terminal\n"


def test_no_file_stays_open(make_study: MakeStudy) -> None:
    registry = run(make_study, HERE, change_all)
    gc.collect()  # else what tests before this one have left is closed in between
    before = open_files()

    registry.submit_jobs([1, 2])

    assert open_files() == before


def test_an_interrupt_in_a_job_stops_the_rest(make_study: MakeStudy, tmp_path: Path) -> None:
    def interrupted(i: int) -> int:
        (tmp_path / f"ran{i}").touch()
        if i == 2:
            signal.raise_signal(signal.SIGINT)
        return i

    registry = make_study(pool=HERE)
    registry.batch_map(interrupted, i=range(1, 6))

    with pytest.raises(KeyboardInterrupt):
        registry.submit_jobs()

    assert registry.find_done() == [1]
    assert registry.find_error() == [2]
    assert registry.find_not_submitted() == [3, 4, 5]
    assert sorted(path.name for path in tmp_path.glob("ran*")) == ["ran1", "ran2"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_jobs_go_on_with_another_pool(make_study: MakeStudy) -> None:
    registry = make_study(pool=HERE)
    registry.batch_map(lambda i: i * i, i=range(1, 4))
    registry.submit_jobs(1)

    registry.pools = bp.pools.Local(slots=1)
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=90)
    assert registry.reduce_results_list() == [1, 4, 9]
