"""Experiments: what the original's tests assert of problems, algorithms, designs and seeds."""

# ruff: noqa: ARG001, S311 - functions of experiments take what they are given; seeded generators
# are what is tested

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import ExperimentRegistry

from .golden import value
from .integrity import check


Make = Callable[..., ExperimentRegistry]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes an experiment registry whose jobs run in the session."""
    made: list[ExperimentRegistry] = []

    def make(seed: int = 1) -> ExperimentRegistry:
        registry = bp.make_experiment_registry(
            tmp_path / f"registry{len(made)}", seed=seed, work_dir=tmp_path
        )
        registry.pools = bp.pools.Interactive()
        made.append(registry)
        return registry

    yield make
    for registry in made:
        registry.close()


def draw() -> float:
    """Draw a number; `random.random` itself would go with its state."""
    return random.random()


def run(registry: ExperimentRegistry, ids: Any = None) -> list[Any]:
    registry.submit_jobs(ids)
    registry.wait_for_jobs(timeout=60)
    return registry.reduce_results_list()


@pytest.fixture
def two_by_two(make: Make) -> ExperimentRegistry:
    """Give p1 x {a1, a2} x 2 replications: four jobs."""
    registry = make()
    registry.add_problem("p1", data=2)
    registry.add_algorithm("a1", lambda instance: 2 * instance)
    registry.add_algorithm("a2", lambda instance: 2 * instance)
    registry.add_experiments(repls=2)
    return registry


def test_a_new_experiment_registry_is_empty_and_counts_what_is_added(make: Make) -> None:
    registry = make(seed=7)

    assert (registry.seed, registry.writeable) == (7, True)
    assert (registry.problems, registry.algorithms) == ([], [])
    assert len(registry.get_job_table()) == 0
    assert repr(registry).startswith("Experiment Registry\n")
    assert "  Problems  : 0\n  Algorithms: 0\n" in repr(registry)
    registry.add_problem("p1")
    registry.add_algorithm("a1")
    assert "  Problems  : 1\n  Algorithms: 1\n" in repr(registry)
    check(registry)


def test_an_experiment_registry_is_sound_after_each_step(two_by_two: ExperimentRegistry) -> None:
    check(two_by_two)
    run(two_by_two)
    check(two_by_two)
    two_by_two.remove_experiments([1])
    check(two_by_two)
    two_by_two.remove_algorithms("a1")
    check(two_by_two)
    two_by_two.sweep()
    check(two_by_two)
    two_by_two.remove_problems("p1")
    check(two_by_two)
    two_by_two.clear()
    check(two_by_two)


def test_what_is_defined_again_computes_something_else(two_by_two: ExperimentRegistry) -> None:
    seen = run(two_by_two)[:1]
    with pytest.warns(BatchpilotWarning, match="stale"):
        two_by_two.add_algorithm("a1", lambda instance: 4 * instance)
    stale = two_by_two.find_stale()
    seen += run(two_by_two, stale)[:1]
    with pytest.warns(BatchpilotWarning, match="stale"):
        two_by_two.add_problem("p1", data=8)
    seen += run(two_by_two, two_by_two.find_stale())[:1]

    assert seen == [4, 8, 32]
    assert stale == [1, 2]
    assert two_by_two.find_stale() == []


def test_a_job_of_an_experiment_knows_what_it_is(make: Make) -> None:
    def make_one(job: Any, data: int, n: int) -> Any:
        return {"seed": job.seed, "instance_seed": job.instance_seed, "n": n + data}

    def tell(job: Any, instance: Any, k: int) -> Any:
        named = ("id", "problem", "algorithm", "repl", "seed", "instance_seed", "pars")
        return instance, {name: getattr(job, name) for name in named}

    registry = make(seed=10)
    registry.add_problem("p1", data=1, fun=make_one, seed=42)
    registry.add_algorithm("a1", tell)
    registry.add_experiments({"p1": {"n": [5]}}, {"a1": {"k": [7]}}, repls=2)

    instance, job = run(registry)[1]
    assert instance == {"seed": 12, "instance_seed": 43, "n": 6}
    assert job == {
        "id": 2,
        "problem": "p1",
        "algorithm": "a1",
        "repl": 2,
        "seed": 12,
        "instance_seed": 43,
        "pars": {"prob_pars": {"n": 5}, "algo_pars": {"k": 7}},
    }


def test_seeds_of_instances_and_jobs_are_the_originals(make: Make) -> None:
    registry = make(seed=42)
    registry.add_problem("p1", fun=draw, seed=1)
    registry.add_problem("p2", fun=draw)
    for name in ("a1", "a2"):
        registry.add_algorithm(
            name, lambda job, instance: (instance, random.random(), job.seed, job.repl)
        )
    registry.add_experiments(repls=3)
    rows = value("g03", "problem_and_algorithm_seed")
    names = registry.get_job_pars()[["job_id", "problem", "algorithm"]].to_numpy().tolist()

    assert names == [[row["job.id"], row["problem"], row["algorithm"]] for row in rows]
    for row, (instance, drawn, seed, repl) in zip(rows, run(registry), strict=True):
        instance_seed = row["repl"] if row["problem"] == "p1" else seed
        assert (seed, repl) == (row["seed"], row["repl"])
        assert instance == random.Random(instance_seed).random()
        assert drawn == random.Random(seed).random()
        if row["problem"] == "p2":
            same = value("g03", "seedless_problem_instance_equals_algorithm_draw")
            assert (instance == drawn) is same


@pytest.fixture
def drawing(make: Make) -> ExperimentRegistry:
    """Give a problem that draws, cached, as golden/g03 has it: 2 parameters x 2 replications."""
    registry = make()
    registry.add_problem("p1", fun=lambda param: 10 * param + random.random(), seed=1, cache=True)
    registry.add_algorithm("a1")
    registry.add_algorithm("a2")
    registry.add_experiments({"p1": {"param": [1, 2]}}, repls=2)
    return registry


def cached(registry: ExperimentRegistry) -> list[Path]:
    place = registry.file_dir / "cache"
    return sorted(path for path in place.rglob("*") if path.is_file())


def test_cached_instances_are_the_same_for_all_algorithms(drawing: ExperimentRegistry) -> None:
    wanted = value("g03", "cached_results")
    results = run(drawing)
    pars = drawing.get_job_table()

    shown = zip(pars["repl"], pars["algorithm"], pars["prob_pars"], strict=True)
    assert [(repl, algorithm, row["param"]) for repl, algorithm, row in shown] == [
        (row["repl"], row["algorithm"], row["param"]) for row in wanted
    ]
    assert results[:4] == results[4:]
    assert results == [10 * row["param"] + random.Random(row["repl"]).random() for row in wanted]
    assert len(cached(drawing)) == value("g03", "cache_files")


def test_only_seeded_problems_are_cached(make: Make) -> None:
    registry = make()
    registry.add_problem("p1", fun=draw, seed=1)
    with pytest.warns(BatchpilotWarning, match="ignored without a seed"):
        registry.add_problem("p2", fun=draw, cache=True)
    registry.add_algorithm("a1")
    registry.add_experiments()

    assert run(registry) == [random.Random(1).random(), random.Random(3).random()]
    assert (cached(registry) != []) is value("g03", "cache_flag_without_seed")


def test_lists_and_tables_are_parameters_too(make: Make) -> None:
    table = pd.DataFrame({"a": [1, 2]})
    registry = make()
    registry.add_problem("p1", fun=lambda words, table: (words, table))
    registry.add_algorithm("a1", lambda instance: (*instance[0], instance[1]["a"].tolist()))
    registry.add_experiments({"p1": [{"words": ["x", "y"], "table": table}]})

    assert run(registry) == [("x", "y", [1, 2])]
    assert registry.get_job_pars()["prob_pars"][0]["words"] == ["x", "y"]
    assert registry.get_job_pars()["prob_pars"][0]["table"].equals(table)


def test_without_designs_all_problems_meet_all_algorithms(make: Make) -> None:
    registry = make()
    for number in (1, 2):
        registry.add_problem(f"p{number}")
        registry.add_algorithm(f"a{number}")
    registry.add_experiments()

    assert registry.get_job_pars()[["problem", "algorithm"]].to_numpy().tolist() == [
        *(["p1", "a1"], ["p1", "a2"]),
        *(["p2", "a1"], ["p2", "a2"]),
    ]


def test_jobs_of_one_chunk_have_their_own_problem(make: Make) -> None:
    registry = make()
    registry.add_problem("p1", data=150, fun=lambda data, n: data * n)
    registry.add_problem("p2", data=10, fun=lambda data, n: data * n)
    registry.add_algorithm("a1")
    ids = registry.add_experiments({"p1": {"n": [1, 2]}, "p2": {"n": [1, 2]}})

    assert run(registry, pd.DataFrame({"job_id": list(ids), "chunk": 1})) == [150, 300, 10, 20]
