"""One experiment, one result: whatever pool, isolation or look at it."""

# ruff: noqa: S311 - the generators that are seeded are what is tested

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import batchpilot as bp

from .conftest import MakeStudy


TABLE = pd.DataFrame({"x": np.arange(50_000.0), "y": np.arange(50_000)})


def sample(job: Any, data: Any, n: int) -> tuple[Any, ...]:
    return float(data["x"][:n].sum()), random.random(), job.rng.random(), job.repl


def fit(job: Any, data: Any, instance: Any, k: int) -> tuple[Any, ...]:
    facts = (job.id, job.seed, job.instance_seed, job.problem, job.algorithm, dict(job.pars))
    return (instance, k, len(data), random.random(), job.rng.random(), facts)


@pytest.fixture
def study(make_study: MakeStudy, tmp_path: Path) -> Any:
    """Give experiments of three problems: kept, seeded, free."""
    directory = tmp_path / "experiments"
    make_study.watch(directory)
    registry = bp.make_experiment_registry(directory, seed=42, work_dir=tmp_path)
    registry.add_problem("kept", data=TABLE, fun=sample, seed=1, cache=True)
    registry.add_problem("seeded", data=TABLE, fun=sample, seed=1)
    registry.add_problem("free", data=TABLE, fun=sample)
    registry.add_algorithm("fit", fun=fit)
    designs = {name: bp.grid(n=[10]) for name in ("kept", "seeded", "free")}
    registry.add_experiments(designs, {"fit": bp.grid(k=[1, 2])}, repls=2)
    return registry


def run(registry: Any, pool: bp.pools.Pool, **resources: Any) -> list[Any]:
    registry.pools = pool
    ids = registry.find_jobs()
    registry.submit_jobs(ids, resources=resources)
    assert registry.wait_for_jobs(timeout=60, progress=False)
    return [registry.load_result(job) for job in ids]


def test_pools_isolation_and_test_job_give_the_same(study: Any) -> None:
    tried = [study.test_job(job) for job in range(1, 13)]
    instances = {(facts[3], instance[3]): instance for instance, *_, facts in tried}

    assert study.test_job(1, external=True) == tried[0]
    assert not study.paths.cache.exists()
    assert run(study, bp.pools.Local(slots=2), isolation="slot") == tried
    assert len(list(study.paths.cache.glob("problems/kept/*"))) == 2
    assert run(study, bp.pools.Local(slots=2), isolation="process") == tried
    assert run(study, bp.pools.Interactive()) == tried
    assert instances["kept", 1] == instances["seeded", 1] != instances["free", 1]
    assert len({row[0] for row in tried if row[-1][3] == "seeded"}) == 2
    assert len({row[0] for row in tried if row[-1][3] == "free"}) == 4


def test_a_session_goes_on_with_its_own_numbers(study: Any) -> None:
    random.seed(1)
    expected = random.Random(1).random()
    study.test_job(1)

    assert random.random() == expected


def test_an_error_of_either_function_arrives_with_its_traceback(study: Any) -> None:
    def broken(n: int) -> None:
        raise KeyError(f"no {n}")

    study.add_problem("seeded", fun=broken, seed=1)
    with pytest.raises(KeyError, match="no 10") as caught:
        study.test_job(5)

    assert caught.traceback[-1].name == "broken"
