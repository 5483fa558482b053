"""Chunks of the user's, order, priority, and resources of single jobs, on real agents."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.conftest import Until

import batchpilot as bp
from batchpilot import control
from batchpilot.store.pages import State
from batchpilot_broker.host import process_start

from . import submitting_jobs as work
from .conftest import MakeStudy, numbers


def spans(registry: bp.Registry, chunk: list[int]) -> list[tuple[float, float, int]]:
    """Return when the jobs of a chunk ran, in the order of the chunk."""
    found: list[tuple[float, float, int]] = [registry.load_result(job) for job in chunk]
    return found


def assert_one_after_another(registry: bp.Registry, chunk: list[int]) -> None:
    for before, after in itertools.pairwise(spans(registry, chunk)):
        assert before[1] <= after[0]


@pytest.mark.parametrize("isolation", ["slot", "process"])
def test_jobs_of_a_chunk_run_one_after_another_and_chunks_side_by_side(
    make_study: MakeStudy, isolation: str, tmp_path: Path
) -> None:
    registry = make_study()
    more = {"first": [12, 11], "place": str(tmp_path), "seconds": 0.2}
    registry.batch_map(work.meeting, i=range(1, 13), more_args=more)
    jobs = [12, 3, 7, 1, 8, 2, 11, 4, 10, 5, 9, 6]
    table = pd.DataFrame({"job_id": jobs, "chunk": [7, 7, 7, 7, 7, 7, 1, 1, 1, 1, 1, 1]})

    submitted = registry.submit_jobs(table, {"isolation": isolation})

    assert submitted == sorted(jobs)
    assert registry.wait_for_jobs(timeout=90, progress=False)
    first, second = jobs[:6], jobs[6:]
    for chunk in (first, second):
        assert_one_after_another(registry, chunk)
    assert spans(registry, second)[0][0] < spans(registry, first)[-1][1]  # at the same time
    assert numbers(registry, "attempt") == [1] * 12  # no chunk was cut, however long it took
    processes = {process for _, _, process in spans(registry, first)}
    assert len(processes) == (1 if isolation == "slot" else 6)


def test_more_chunks_than_slots_begin_in_the_order_given(make_study: MakeStudy) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(work.traced, i=range(1, 9), more_args={"seconds": 0.01})
    jobs = [8, 1, 6, 3, 4, 5, 2, 7]

    registry.submit_jobs(pd.DataFrame({"job_id": jobs, "chunk": [4, 4, 9, 9, 9, 1, 1, 1]}))

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_one_after_another(registry, jobs)


def test_a_large_chunk_is_run_whole(make_study: MakeStudy) -> None:
    registry = make_study()
    jobs = range(1, 10_001)
    registry.batch_map(work.failing, i=jobs, more_args={"fail": False})
    chunks = bp.chunk(jobs, n_chunks=2, shuffle=False)

    registry.submit_jobs(pd.DataFrame({"job_id": jobs, "chunk": chunks}))

    assert registry.wait_for_jobs(timeout=90, progress=False)
    with registry.database.read() as tx:
        made = tx.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunk'").fetchone()
    assert made == (2,)


def test_what_a_lost_agent_leaves_of_a_chunk_stays_together(
    make_study: MakeStudy, until: Until, tmp_path: Path
) -> None:
    registry = make_study()
    registry.batch_map(work.mortal, i=range(1, 6), more_args={"gates": str(tmp_path)})
    registry.submit_jobs(pd.DataFrame({"job_id": [1, 2, 3, 4, 5], "chunk": 1}))
    until((tmp_path / "began-2-1").exists)
    until(lambda: registry.get_status().done == 1)
    (agent,) = control.agents(registry.paths)

    os.kill(agent["pid"], signal.SIGKILL)
    until(lambda: not process_start(agent["pid"]))

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_one_after_another(registry, [2, 3, 4, 5])
    assert numbers(registry, "attempt") == [1, 2, 2, 2, 2]
    assert numbers(registry, "charged") == [0, 1, 0, 0, 0]


def test_the_order_of_the_ids_is_kept_and_priority_goes_before_it(
    make_study: MakeStudy, until: Until, tmp_path: Path
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(
        lambda i, what, gates, job: what(i, gates, job) if i == 1 else work.traced(i, 0.01),
        i=range(1, 12),
        more_args={"what": work.gated, "gates": str(tmp_path)},
    )
    registry.submit_jobs(10)  # so that run times are known, and all is fed at once
    registry.submit_jobs(11, priority=5)
    registry.wait_for_jobs(timeout=60, progress=False)
    registry.submit_jobs(1)
    until((tmp_path / "began-1-1").exists)

    registry.submit_jobs([5, 2, 4, 3])
    registry.submit_jobs([7, 9, 6, 8], priority=5)
    until(lambda: numbers(registry, "state")[1:9] == [State.FED] * 8)
    (tmp_path / "open-1").touch()

    assert registry.wait_for_jobs(timeout=60, progress=False)
    jobs = range(2, 10)
    began: dict[int, Any] = {job: registry.load_result(job)[0] for job in jobs}
    order = sorted(jobs, key=began.__getitem__)
    assert [job for job in order if job > 5] == [7, 9, 6, 8]
    assert [job for job in order if job <= 5] == [5, 2, 4, 3]
    assert order[-2:] == [4, 3]  # an agent may have claimed a chunk before the others came


def test_each_job_gets_the_resources_of_its_row(make_study: MakeStudy) -> None:
    registry = make_study(pool=bp.pools.Local(slots=2, resources={"ncpus": 2, "memory": 4000}))
    registry.batch_map(work.told, i=range(1, 7))
    table = pd.DataFrame(
        {
            "job_id": [6, 5, 4, 3, 2, 1],
            "walltime": [180, 120, 180, None, 120, None],
            "ncpus": [1, 2, 1, 2, 2, None],
        }
    )

    registry.submit_jobs(table, {"memory": 500})

    assert registry.wait_for_jobs(timeout=60, progress=False)
    expected = {
        1: {"memory": 500},
        2: {"memory": 500, "ncpus": 2, "walltime": 120},
        3: {"memory": 500, "ncpus": 2},
        4: {"memory": 500, "ncpus": 1, "walltime": 180},
    }
    expected |= {5: expected[2], 6: expected[4]}
    assert dict(registry.reduce_results_list()) == expected
    shown = registry.get_job_resources()
    assert dict(zip(shown["job_id"], shown["resources"], strict=True)) == expected


def test_here_in_the_session_chunks_and_resources_of_single_jobs_hold_too(
    make_study: MakeStudy,
) -> None:
    registry = make_study(pool=bp.pools.Interactive())
    registry.batch_map(work.told, i=range(1, 5))

    registry.submit_jobs(pd.DataFrame({"job_id": [4, 1], "chunk": [1, 1]}))
    registry.submit_jobs(pd.DataFrame({"job_id": [3, 2], "walltime": [60, 90]}))

    assert registry.reduce_results_list() == [
        *((1, {}), (2, {"walltime": 90}), (3, {"walltime": 60}), (4, {})),
    ]
