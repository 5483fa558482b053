"""States, tables and logs after each step of a registry's life."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import JobNotDone, JobsNotFound, LogMissing
from batchpilot.notices import BatchpilotWarning

from .conftest import Make
from .integrity import check


def speak(i: int, job: Any) -> int:
    """Print in each way; the second job fails."""
    print(f"GREPME {i}")  # noqa: T201 - a job's output
    sys.stderr.write(f"err {i}\n")
    (job.external_dir / "file").touch()
    if i == 2:
        raise ValueError("no 2")
    return i


@pytest.fixture
def ten(make: Make) -> bp.Registry:
    """Give ten jobs, five submitted, one of them failed."""
    registry = make(speak, i=range(1, 11))
    registry.submit_jobs(range(1, 6), {"walltime": 60})
    return registry


def test_a_registry_is_sound_after_each_step(ten: bp.Registry) -> None:
    check(ten)
    ten.add_job_tags([1, 9], ["a", "b"])
    check(ten)
    ten.submit_jobs([2, 6], {"memory": 100})
    check(ten)
    ten.reset_jobs([1, 2])
    check(ten)
    ten.sweep()
    check(ten)
    ten.clear()
    check(ten)
    ten.batch_map(speak, i=[1])
    check(ten)


def test_an_empty_registry_is_sound(make: Make) -> None:
    registry = make()

    check(registry)
    assert registry.get_status().defined == 0


def test_the_status_counts_ten_jobs_as_the_original(ten: bp.Registry) -> None:
    status = ten.get_status()

    assert list(status.as_dict().values()) == [10, 5, 5, 4, 1, 0, 0, 0, 0]
    assert all(type(n) is int for n in status.as_dict().values())
    assert str(status).startswith("Status for 10 jobs at ")


def test_each_submission_keeps_its_resources(ten: bp.Registry) -> None:
    ten.submit_jobs([6, 7], {"walltime": 120})

    shown = ten.get_job_resources()["resources"].tolist()
    assert shown == [{"walltime": 60}] * 5 + [{"walltime": 120}] * 2 + [None] * 3
    assert ten.get_job_status()["submitted"].notna().tolist() == [True] * 7 + [False] * 3


def test_a_reset_job_is_as_one_that_was_never_submitted(ten: bp.Registry) -> None:
    external = ten.paths.external
    ten.reset_jobs([1, 2])

    for job in (1, 2):
        assert ten.get_job_status(job).drop(columns="job_id").isna().all(axis=None)
        assert not (external / str(job)).exists()
        with pytest.raises(LogMissing, match="not submitted"):
            ten.get_log(job)
        with pytest.raises(JobNotDone, match="not submitted"):
            ten.load_result(job)
    assert (external / "3" / "file").exists()
    assert ten.load_result(3) == 3
    assert ten.get_log(3)[0] == "GREPME 3"


def test_each_log_is_its_jobs_own(ten: bp.Registry) -> None:
    found = ten.grep_logs("GREPME")

    assert found["job_id"].tolist() == [1, 2, 3, 4, 5]
    assert found["matches"].tolist() == [f"GREPME {i}" for i in range(1, 6)]
    assert ten.grep_logs("err [24]")["job_id"].tolist() == [2, 4]
    assert [line for line in ten.get_log(4) if "GREPME" in line] == ["GREPME 4"]


@pytest.mark.parametrize("what", ["get_log", "show_log", "load_result", "test_job"])
def test_one_job_is_what_one_job_is_asked_of(ten: bp.Registry, what: str) -> None:
    with pytest.raises(JobsNotFound, match="exactly one"):
        getattr(ten, what)([1, 2])
    with pytest.raises(JobsNotFound), pytest.warns(BatchpilotWarning, match="99"):
        getattr(ten, what)(99)


def test_killing_what_does_not_run_kills_nothing(ten: bp.Registry) -> None:
    before = ten.get_status()

    assert ten.kill_jobs([1, 7]) == []
    assert ten.get_status() == before
