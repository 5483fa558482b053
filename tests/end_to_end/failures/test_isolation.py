"""What a job finds that follows another in the same slot, in a fresh process, and with BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.end_to_end.conftest import MakeStudy

import batchpilot as bp

from . import work


JOBS = 5


def found(make_study: MakeStudy, isolation: str) -> list[dict[str, Any]]:
    """Return how each of some leaky jobs found its process."""
    registry = make_study(isolation, pool=bp.pools.Local(slots=1))
    registry.batch_map(work.leaky, i=range(1, JOBS + 1))
    registry.submit_jobs(None, {"isolation": isolation})
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    assert [registry.get_log(job) for job in range(1, JOBS + 1)] == [
        [f"job {job}"] for job in range(1, JOBS + 1)
    ]
    results: list[dict[str, Any]] = registry.reduce_results_list()
    return results


def test_a_warm_slot_is_given_back_as_it_was_but_for_module_globals(
    make_study: MakeStudy,
) -> None:
    jobs = found(make_study, "slot")
    draws = [job.pop("draw") for job in jobs]
    calls = [job.pop("calls") for job in jobs]

    assert all(job == jobs[0] for job in jobs)
    assert jobs[0]["variable"] is None
    assert jobs[0]["handler"]
    assert not jobs[0]["path"]
    assert jobs[0]["alarm"] == 0
    assert len(set(draws)) == JOBS
    assert calls == list(range(JOBS))


def test_a_process_a_job_shares_nothing(make_study: MakeStudy) -> None:
    jobs = found(make_study, "process")

    assert len({job["pid"] for job in jobs}) == JOBS
    assert {job["calls"] for job in jobs} == {0}
    assert {job["variable"] for job in jobs} == {None}


def test_a_slot_with_something_left_in_it_runs_no_other_job(make_study: MakeStudy) -> None:
    kinds = ["nothing", "thread", "nothing", "child", "nothing", "limit", "nothing", "memory"]
    """What each job leaves behind: the clean ones share a slot with the one that follows."""
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(work.dirty, i=range(1, 10), what=[*kinds, "nothing"])
    registry.submit_jobs(None, {"isolation": "slot"})

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    pids = registry.reduce_results_list()
    assert pids[1::2] == pids[:-1:2]
    assert len(set(pids)) == 5


def test_numbers_are_the_same_in_slots_and_processes_with_threads_and_without(
    make_study: MakeStudy,
) -> None:
    def numbers(i: int, job: Any) -> list[float]:
        matrix = np.random.random((150, 150)) + job.rng.normal(size=(150, 150))  # noqa: NPY002 - both generators are seeded
        return [i, *np.linalg.eigvalsh(matrix @ matrix.T)[-3:].tolist(), float(matrix.sum())]

    registry = make_study()
    registry.batch_map(numbers, i=range(1, 7))
    seen = []
    for resources in (
        {"isolation": "auto"},
        {"isolation": "slot"},
        {"isolation": "process"},
        {"isolation": "process", "blas_threads": 2},
        {"isolation": "slot", "blas_threads": 2, "omp_threads": 2},
    ):
        registry.submit_jobs(range(1, 7), resources)
        assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
        seen.append(registry.reduce_results_list())

    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
    assert seen[4] == seen[3]
    np.testing.assert_allclose(seen[3], seen[0], rtol=1e-9)
