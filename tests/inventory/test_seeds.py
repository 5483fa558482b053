"""Seeds of a map's jobs: golden/g03 says which, Python's own generator what is drawn under them."""

# ruff: noqa: S311 - the generator that is seeded is what is tested

from __future__ import annotations

import random
from typing import Any

import pytest

import batchpilot as bp

from .conftest import Make
from .golden import value


def draw(i: int, job: Any) -> tuple[int, float]:  # noqa: ARG001 - jobs have a parameter
    return job.seed, random.random()


WANTED = [(row["seed"], random.Random(row["seed"]).random()) for row in value("g03", "map_jobs")]


@pytest.mark.parametrize("external", [False, True], ids=["here", "external"])
@pytest.mark.parametrize("ids", [[1, 2, 3, 4], [4, 2, 3, 1]], ids=str)
def test_a_map_draws_the_same_in_any_way_it_runs(
    make: Make, ids: list[int], external: bool
) -> None:
    registry = make(draw, i=range(4))
    registry.pools = bp.pools.Interactive(external=external)
    registry.submit_jobs(ids)
    same = registry.reduce_results_list() == WANTED

    assert same is value("g03", "map_jobs_chunked_identical")
    assert (registry.test_job(3) == WANTED[2]) is value("g03", "testJob_same_as_job")


def test_the_sessions_generator_is_left_alone(make: Make) -> None:
    registry = make(draw, i=range(4))
    before = random.getstate()
    registry.submit_jobs()
    registry.test_job(1)

    assert (random.getstate() == before) is value("g03", "master_rng_untouched_by_execJob")
