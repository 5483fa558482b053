"""Experiments on real agents: the lecture's, one of real data, and one that nothing can disturb."""

# ruff: noqa: NPY002, S311 - the generators that are seeded are what is tested

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from tests.conftest import Until

import batchpilot as bp
from batchpilot.registry.whole import ExperimentRegistry

from .conftest import SLOTS, MakeStudy


DATA = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer}
REPLICATIONS = 50

Make = Callable[..., ExperimentRegistry]


@pytest.fixture
def make(tmp_path: Path, until: Until) -> Iterator[Make]:
    """Give a function that makes experiment registries whose daemons end with the test."""
    studies = MakeStudy(tmp_path, until)

    def make(name: str = "registry", seed: int = 1) -> ExperimentRegistry:
        registry = bp.make_experiment_registry(tmp_path / name, seed=seed, work_dir=tmp_path)
        studies.watch(tmp_path / name)
        registry.pools = bp.pools.Local(slots=SLOTS)
        return registry

    yield make
    studies.end()


def test_in_the_lecture_both_algorithms_see_the_number_that_was_drawn(make: Make) -> None:
    registry = make()
    registry.add_problem("p1", fun=lambda: random.random(), seed=1)  # noqa: PLW0108 - the bound method would go with its state
    registry.add_algorithm("a1", fun=lambda instance: 2 * instance)
    registry.add_algorithm("a2", fun=lambda instance: 1 + instance)
    assert registry.add_experiments(repls=2) == [1, 2, 3, 4]
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=90, progress=False)

    u, v = random.Random(1).random(), random.Random(2).random()
    assert registry.results_frame().to_dict("list") == {
        "job_id": [1, 2, 3, 4],
        "problem": ["p1"] * 4,
        "algorithm": ["a1", "a1", "a2", "a2"],
        "repl": [1, 2, 1, 2],
        "result": [2 * u, 2 * v, 1 + u, 1 + v],
    }


def sample(job: Any, n: int) -> list[float]:
    drawn = np.random.random(n).tolist()
    return [*drawn, random.random(), job.rng.random(), job.instance_seed]


def draw(job: Any, instance: list[float]) -> list[Any]:
    """Fail in the first attempt of each third job; what was drawn until then must not count."""
    drawn = [random.random(), float(np.random.random()), job.rng.random()]
    if job.id % 3 == 0 and job.attempt % 2:
        raise RuntimeError("try again")
    return [job.id, job.seed, instance, drawn]


def drawing(make: Make, name: str) -> ExperimentRegistry:
    registry = make(name, seed=2147483640)
    registry.add_problem("seeded", fun=sample, seed=7)
    registry.add_problem("free", fun=sample)
    registry.add_algorithm("draw", fun=draw)
    designs = {"seeded": {"n": [1, 3]}, "free": {"n": [2]}}
    assert registry.add_experiments(designs, repls=5) == list(range(1, 16))
    return registry


def run(registry: ExperimentRegistry, ids: Any, **options: Any) -> list[Any]:
    registry.submit_jobs(ids, **options)
    assert registry.wait_for_jobs(timeout=90, progress=False)
    return registry.reduce_results_list()


@pytest.mark.timeout(240)  # it runs three registries
def test_numbers_depend_neither_on_order_nor_on_chunks_nor_on_retries(make: Make) -> None:
    first = run(drawing(make, "first"), None, retries=1)
    backwards = list(range(15, 0, -1))
    chunked = pd.DataFrame({"job_id": backwards, "chunk": [job % 4 for job in backwards]})

    assert run(drawing(make, "backwards"), backwards, retries={"error": 3}) == first
    assert run(drawing(make, "chunked"), chunked, retries={"error": 3}) == first
    assert [seed for _, seed, *_ in first] == [2147483641 + i for i in range(7)] + list(range(1, 9))
    instances = [instance for *_, instance, _ in first]
    assert [instance[-1] for instance in instances[:5]] == [7, 8, 9, 10, 11]
    assert len({str(instance) for instance in instances}) == 15


def split(data: Any, job: Any, ratio: float) -> Any:
    x, y = data
    return train_test_split(x, y, train_size=ratio, random_state=job.instance_seed, stratify=y)


def scored(model: BaseEstimator, instance: Any) -> dict[str, Any]:
    train, test, classes, truth = instance
    return {"accuracy": model.fit(train, classes).score(test, truth), "seen": float(train.sum())}


LEARNERS: dict[str, Callable[..., Any]] = {
    "neighbours": lambda instance, k: scored(KNeighborsClassifier(k), instance),
    "tree": lambda instance, depth: scored(DecisionTreeClassifier(max_depth=depth), instance),
    "bayes": lambda instance: scored(GaussianNB(), instance),
    "discriminant": lambda instance: scored(LinearDiscriminantAnalysis(), instance),
}


@pytest.mark.timeout(240)  # it computes a lot
def test_a_comparison_on_real_data_comes_back_as_one_tidy_table(make: Make) -> None:
    registry = make()
    for name, load in DATA.items():
        registry.add_problem(name, data=load(return_X_y=True), fun=split, seed=1)
    for name, learner in LEARNERS.items():
        registry.add_algorithm(name, fun=learner)
    registry.add_experiments(
        dict.fromkeys(DATA, bp.grid(ratio=[0.5, 0.8])),
        {"neighbours": {"k": [1, 7]}, "tree": {"depth": [3]}, "bayes": None, "discriminant": None},
        repls=REPLICATIONS,
    )

    registry.submit_jobs()
    registry.wait_for_jobs(timeout=200, progress=False)
    results = registry.results_frame()

    assert results.columns.tolist() == [
        *("job_id", "problem", "algorithm", "repl"),
        *("ratio", "k", "depth", "accuracy", "seen"),
    ]
    assert len(results) == len(DATA) * 2 * 5 * REPLICATIONS
    assert results["job_id"].is_monotonic_increasing
    assert results["accuracy"].between(0.3, 1).all()
    assert results[["k", "depth"]].notna().sum().tolist() == [600, 300]
    cuts = results.groupby(["problem", "ratio", "repl"])["seen"]
    assert (cuts.max() == cuts.min()).all()
    assert results.groupby(["problem", "ratio"])["seen"].nunique().min() > REPLICATIONS / 2
