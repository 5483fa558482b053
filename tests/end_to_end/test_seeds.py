"""Same seed, same numbers: whatever pool, slots, order or chunks, and whoever imports numpy."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not
# ruff: noqa: ICN001, PLC0415 - jobs import what they need themselves
# ruff: noqa: NPY002, S311 - the generators that are seeded are what is tested

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batchpilot as bp

from .conftest import HELD_SECONDS, MakeStudy, Run


SEED = 42
JOBS = 8
Draws = list[tuple[float, float, float]]
TWO_AGENTS = bp.pools.Local(slots=1, min_agents=2, max_agents=2)


def drawn(i: int, job: Any) -> tuple[float, float, float]:
    """Draw from each of the three generators a job has."""
    return random.random(), float(np.random.random()), float(job.rng.normal())


EXPECTED: Draws = [
    (
        random.Random(SEED + i).random(),
        float(np.random.RandomState(SEED + i).random_sample()),
        float(
            np.random.Generator(
                np.random.PCG64(np.random.SeedSequence(SEED, spawn_key=(0, i)))
            ).normal()
        ),
    )
    for i in range(1, JOBS + 1)
]


def results(
    make: MakeStudy,
    pool: bp.pools.Pool,
    fun: Callable[..., Any] = drawn,
    ids: Any = None,
    **resources: Any,
) -> list[Any]:
    """Run a function of i as eight jobs and return what they return."""
    registry = make(pool.name, seed=SEED, pool=pool)
    registry.batch_map(fun, i=range(1, JOBS + 1))
    registry.submit_jobs(ids, resources)
    assert registry.wait_for_jobs(timeout=90), registry.get_error_messages()
    return registry.reduce_results_list()


def at_two_agents(fun: Callable[..., Any], place: Path) -> Callable[..., Any]:
    """Return what waits, before it calls a function of a job, until another agent does so, too."""
    place.mkdir()

    def work(i: int, job: Any) -> Any:
        (place / os.environ["BATCHPILOT_AGENT"]).touch()
        end = time.monotonic() + HELD_SECONDS
        while len(list(place.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return fun(i, job)

    return work


WAYS: dict[str, tuple[bp.pools.Pool, dict[str, Any]]] = {
    "one slot": (bp.pools.Local(slots=1), {}),
    "two slots": (bp.pools.Local(slots=2), {}),
    "ids backwards": (bp.pools.Local(slots=2), {"ids": list(range(JOBS, 0, -1))}),
    "a process each": (bp.pools.Local(slots=2), {"isolation": "process"}),
    "in the session": (bp.pools.Interactive(), {}),
    "a fresh process each": (bp.pools.Interactive(external=True), {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_draws_depend_on_seed_and_id_alone(make_study: MakeStudy, way: str) -> None:
    pool, options = WAYS[way]

    assert results(make_study, pool, **options) == EXPECTED


def test_draws_are_the_same_at_two_agents(make_study: MakeStudy, tmp_path: Path) -> None:
    fun = at_two_agents(drawn, tmp_path / "agents")

    assert results(make_study, TWO_AGENTS, fun) == EXPECTED
    assert len(list((tmp_path / "agents").iterdir())) == 2


def test_a_job_draws_the_same_when_it_runs_again(make_study: MakeStudy) -> None:
    registry = make_study(seed=SEED)
    registry.batch_map(drawn, i=range(1, JOBS + 1))
    registry.submit_jobs()
    registry.wait_for_jobs(timeout=90)
    registry.submit_jobs([3, 5])  # other chunks, warm slots

    assert registry.wait_for_jobs(timeout=90)
    assert registry.reduce_results_list() == EXPECTED


def test_a_neighbours_import_of_numpy_changes_no_numbers(make_study: MakeStudy) -> None:
    """Only every other job imports numpy, in a slot that has not loaded it at its start."""

    def sometimes(i: int) -> tuple[bool, float, float | None]:
        import random as python
        import sys

        loaded = "numpy" in sys.modules
        if i % 2:
            return loaded, python.random(), None
        import numpy

        return loaded, python.random(), float(numpy.random.random())

    seen = results(make_study, bp.pools.Local(slots=1), sometimes, isolation="slot")

    assert not any(loaded for loaded, _, _ in seen[:2])
    assert [(a, b) for _, a, b in seen] == [
        (a, None if i % 2 else b) for i, (a, b, _) in enumerate(EXPECTED, 1)
    ]


SCRIPT = """
import batchpilot as bp
{code}
reg = bp.make_registry("study", seed=42)
reg.pools = bp.pools.Local(slots=1)
reg.batch_map(draw, i=range(1, 9))
reg.submit_jobs()
reg.wait_for_jobs(timeout=90, progress=False)
loaded, values = zip(*reg.reduce_results_list())
print(loaded[0], list(values))
"""
INSIDE = """
def draw(i):
    import sys
    loaded = "numpy" in sys.modules
    import numpy
    return loaded, float(numpy.random.random())
"""
BEFORE = """
import sys, numpy
def draw(i):
    return "numpy" in sys.modules, float(numpy.random.random())
"""


@pytest.mark.parametrize(("code", "loaded"), [(INSIDE, False), (BEFORE, True)], ids=["in", "out"])
def test_numpy_is_seeded_whether_it_is_imported_before_or_inside_the_function(
    make_study: MakeStudy, run_script: Run, tmp_path: Path, code: str, loaded: bool
) -> None:
    make_study.watch(tmp_path / "study")

    ended = run_script("-c", SCRIPT.format(code=code))

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == f"{loaded} {[b for _, b, _ in EXPECTED]}"


def test_the_hash_seed_is_the_same_at_all_agents(make_study: MakeStudy, tmp_path: Path) -> None:
    def hashed(i: int, job: Any) -> tuple[int, str | None]:
        return hash("x"), os.environ.get("PYTHONHASHSEED")

    fun = at_two_agents(hashed, tmp_path / "agents")
    seen = set(results(make_study, TWO_AGENTS, fun))
    alone = set(results(make_study, bp.pools.Interactive(external=True), hashed))

    assert len(list((tmp_path / "agents").iterdir())) == 2
    assert len(seen) == 1
    assert seen == alone
    assert {seed for _, seed in seen} == {"0"}
