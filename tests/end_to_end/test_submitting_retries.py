"""Retries on real agents: errors as they are, limits doubled, and nothing counted twice."""

from __future__ import annotations

import re

import pytest
from tests.conftest import Until

import batchpilot as bp
from batchpilot import control
from batchpilot.explaining import explain
from batchpilot.reasons import Cause
from batchpilot.repair import repair
from batchpilot.store.pages import State

from . import submitting_jobs as work
from .conftest import MakeStudy, numbers


def test_a_job_over_its_memory_is_tried_again_with_twice_as_much(make_study: MakeStudy) -> None:
    registry = make_study(pool=bp.pools.Local(slots=2, resources={"memory": 2000}))
    registry.batch_map(work.hungry, i=[1, 2, 3], megabytes=[400, 1, 900])

    registry.submit_jobs(resources={"memory": 250}, retries={"memory": 1})

    assert not registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.find_done() == [1, 2]
    assert registry.load_result(1) == {"i": 1, "attempt": 2, "memory": 500}
    assert registry.load_result(2) == {"i": 2, "attempt": 1, "memory": 250}
    assert registry.get_error_messages(3)["message"][0].startswith("memory of 500 MB exceeded")
    shown = registry.get_job_table()["resources"].tolist()
    assert shown == [{"memory": 500}, {"memory": 250}, {"memory": 500}]
    assert numbers(registry, "charged") == [0, 0, 0]
    log = (registry.paths.logs / "coordinator.log").read_text()
    retried = re.findall(r"JobsRequeued\(reason='retry', jobs=(\d+)\)", log)
    assert sum(map(int, retried)) == 2

    registry.submit_jobs(registry.find_expired(), resources={"memory": 1500})

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.load_result(3) == {"i": 3, "attempt": 3, "memory": 1500}


def test_a_job_over_its_walltime_is_tried_again_with_twice_as_much(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(work.slow, i=[1, 2], seconds=[[60, 60, 0], [0, 0, 0]])

    registry.submit_jobs(resources={"walltime": 3}, retries={"walltime": 2})

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.reduce_results_list() == [
        {"i": 1, "attempt": 3, "walltime": 12},
        {"i": 2, "attempt": 1, "walltime": 3},
    ]


def test_an_error_is_tried_again_with_the_same_seed(make_study: MakeStudy) -> None:
    registry = make_study(seed=10)
    registry.batch_map(work.brittle, i=range(1, 5), good=[1, 2, 3, 4])
    registry.submit_jobs(retries=2)

    assert not registry.wait_for_jobs(timeout=60, progress=False, stop_on_error=False)
    assert registry.find_error() == [4]
    assert numbers(registry, "attempt") == [1, 2, 3, 3]
    assert [r[:2] for r in registry.reduce_results_list()] == [(1, 11), (2, 12), (3, 13)]
    why = explain(registry, 4)
    (tried,) = (reason.text for reason in why.reasons if reason.cause is Cause.RETRIED)
    assert tried == "tried again 2 times, as retries allow, after: error, error"

    here = make_study("here", seed=10, pool=bp.pools.Interactive())
    here.batch_map(work.brittle, i=range(1, 4), good=[1, 1, 1])
    here.submit_jobs()
    assert [r[1:] for r in here.reduce_results_list()] == [
        r[1:] for r in registry.reduce_results_list()
    ]


@pytest.mark.parametrize("external", [False, True])
def test_here_in_the_session_errors_are_tried_again_too(
    make_study: MakeStudy, external: bool
) -> None:
    registry = make_study(pool=bp.pools.Interactive(external=external))
    registry.batch_map(work.brittle, i=range(1, 5), good=[1, 2, 3, 4])

    registry.submit_jobs(retries={"error": 2})

    assert registry.find_error() == [4]
    assert [r[0] for r in registry.reduce_results_list()] == [1, 2, 3]
    assert registry.get_status().system == 0
    with registry.database.read() as tx:
        assert tx.all("classes_with_work") == []


def test_repair_from_an_old_copy_agrees_with_what_was_tried(
    make_study: MakeStudy, until: Until
) -> None:
    registry = make_study()
    registry.batch_map(work.brittle, i=range(1, 5), good=[1, 2, 3, 9])
    registry.database.back_up(1)
    registry.submit_jobs(retries=2)
    registry.wait_for_jobs(timeout=60, progress=False)
    before = numbers(registry, "state"), numbers(registry, "attempt"), numbers(registry, "floor")
    results = registry.reduce_results_list()
    paths = registry.paths
    control.stop(paths)
    until(lambda: not control.agents(paths))
    registry.close()
    for path in paths.root.glob("registry-*.db*"):
        path.unlink()
    for path in sorted(paths.backup.glob("registry-*.db"))[1:]:
        path.unlink()

    repair(paths)

    with bp.load_registry(paths.root) as repaired:
        assert before == tuple(numbers(repaired, c) for c in ("state", "attempt", "floor"))
        assert before[0] == [State.DONE] * 3 + [State.ERROR]
        assert repaired.reduce_results_list() == results
