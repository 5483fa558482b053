"""The lecture's experiment, run for real, against what the original computed; and a larger one."""

# ruff: noqa: S311 - the generators that are seeded are what is tested

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

import batchpilot as bp
from batchpilot.notices import BatchpilotWarning

from .conftest import MakeStudy


GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "g02_lecture_experiment.json").read_text()
)


def golden(name: str) -> Any:
    return GOLDEN[name]["value"]


def made(make: MakeStudy, directory: Path, name: str) -> bp.ExperimentRegistry:
    """Return a registry of experiments in a directory; its daemons end with the test."""
    make.watch(directory / name)
    registry = bp.make_experiment_registry(directory / name, seed=1, work_dir=directory)
    registry.pools = bp.pools.Local(slots=2)
    return registry


@pytest.fixture(scope="module")
def lecture(
    make_shared: MakeStudy, tmp_path_factory: pytest.TempPathFactory
) -> bp.ExperimentRegistry:
    """Give p1, that draws a number under seed 1, with a1 and a2, twice, all done."""

    def draw() -> float:
        return random.random()

    def double(instance: float, job: Any) -> dict[str, Any]:
        return {"result": 2 * instance, "instance": instance, "seed": job.seed}

    def add(instance: float, job: Any) -> dict[str, Any]:
        return {"result": instance + 1, "instance": instance, "seed": job.seed}

    registry = made(make_shared, tmp_path_factory.mktemp("lecture"), "registry")
    registry.add_problem("p1", fun=draw, seed=1)
    registry.add_algorithm("a1", double)
    registry.add_algorithm("a2", add)
    assert list(registry.add_experiments(repls=2)) == golden("addExperiments_ids")
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=90, progress=False)
    return registry


def test_the_table_is_the_originals(lecture: bp.ExperimentRegistry) -> None:
    table = lecture.get_job_pars().merge(lecture.reduce_results_frame(), on="job_id")

    assert [name.replace("_", ".") for name in table.columns] == golden("join_columns")
    for ours, theirs in zip(
        table.drop(columns="result").to_dict("records"),
        golden("getJobPars_join_results"),
        strict=True,
    ):
        wanted = {name.replace(".", "_"): value or {} for name, value in theirs.items()}
        assert ours == {name: value for name, value in wanted.items() if name != "result"}


def test_both_algorithms_of_a_replication_saw_the_same_instance(
    lecture: bp.ExperimentRegistry,
) -> None:
    frame = lecture.results_frame()

    drawn = [random.Random(seed).random() for seed in (1, 2)]  # problem seed + replication - 1
    assert frame["instance"].tolist() == [*drawn, *drawn]
    assert frame["repl"].tolist() == [1, 2, 1, 2]
    assert frame["result"].tolist() == [2 * x for x in drawn] + [x + 1 for x in drawn]


def test_jobs_have_the_originals_seeds(lecture: bp.ExperimentRegistry) -> None:
    assert lecture.results_frame()["seed"].tolist() == golden("job_seeds_with_registry_seed_1")


def test_the_job_table_has_the_originals_columns(lecture: bp.ExperimentRegistry) -> None:
    table = lecture.get_job_table()

    assert [name.replace("_", ".") for name in table.columns] == list(golden("getJobTable_columns"))
    assert table["done"].notna().all()
    assert table["batch_id"].str.startswith("local-").all()


def test_a_loaded_registry_is_one_of_experiments_and_finds_them(
    lecture: bp.ExperimentRegistry,
) -> None:
    with bp.load_registry(lecture.file_dir, writeable=False) as again:
        assert isinstance(again, bp.ExperimentRegistry)
        assert again.find_experiments(algo_name="a2", repls=2) == [4]
        assert again.find_stale() == []
        assert again.results_frame().equals(lecture.results_frame())


def test_what_is_defined_anew_is_computed_anew_and_nothing_else(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    registry = made(make_study, tmp_path, "redefined")
    registry.add_problem("p1", data=10)
    registry.add_algorithm("a1", lambda instance: instance)
    registry.add_algorithm("a2", lambda instance: -instance)
    registry.add_experiments()
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=90, progress=False)

    with pytest.warns(BatchpilotWarning, match="1 job"):
        registry.add_algorithm("a2", lambda instance: 2 * instance)
    registry.submit_jobs(registry.find_stale())
    assert registry.wait_for_jobs(timeout=90, progress=False)

    assert registry.reduce_results_list() == [10, 20]
    with registry.database.read() as tx:
        assert tx.pages.take("attempt", np.array([1, 2])).tolist() == [1, 2]


def split(data: tuple[Any, Any], job: Any, share: float) -> dict[str, Any]:
    """Return a part of the observations to learn from, and the others."""
    x, y = data
    order = job.rng.permutation(len(y))
    cut = int(share * len(y))
    return {"train": (x[order[:cut]], y[order[:cut]]), "test": (x[order[cut:]], y[order[cut:]])}


def centroids(instance: dict[str, Any], scale: bool = True) -> dict[str, float]:
    """Predict the class whose mean is nearest."""
    (x, y), (new, truth) = instance["train"], instance["test"]
    spread = x.std(axis=0) if scale else 1.0
    means = np.array([x[y == one].mean(axis=0) for one in np.unique(y)])
    return accuracy(np.abs((new[:, None] - means) / spread).sum(axis=2).argmin(axis=1), truth)


def neighbours(instance: dict[str, Any], k: int) -> dict[str, float]:
    """Predict the class of most of the nearest."""
    (x, y), (new, truth) = instance["train"], instance["test"]
    near = np.abs(new[:, None] - x).sum(axis=2).argsort(axis=1)[:, :k]
    return accuracy(np.array([np.bincount(row).argmax() for row in y[near]]), truth)


def majority(instance: dict[str, Any]) -> dict[str, float]:
    """Predict what there is most of."""
    (_, y), (_, truth) = instance["train"], instance["test"]
    return accuracy(np.full(len(truth), np.bincount(y).argmax()), truth)


def chance(instance: dict[str, Any], job: Any) -> dict[str, float]:
    """Predict anything."""
    (_, y), (_, truth) = instance["train"], instance["test"]
    return accuracy(job.rng.choice(y, len(truth)), truth)


def accuracy(predicted: Any, truth: Any) -> dict[str, float]:
    return {"accuracy": float((predicted == truth).mean()), "observations": len(truth)}


@pytest.mark.timeout(240)  # it computes a lot
def test_a_larger_study_comes_back_as_one_tidy_table(make_study: MakeStudy, tmp_path: Path) -> None:
    registry = made(make_study, tmp_path, "larger")
    sets = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer}
    for seed, (name, load) in enumerate(sets.items(), 1):
        registry.add_problem(name, data=load(return_X_y=True), fun=split, seed=seed)
    for algorithm in (centroids, neighbours, majority, chance):
        registry.add_algorithm(algorithm.__name__, algorithm)
    parts = dict.fromkeys(sets, bp.grid(share=[0.5, 0.8]))
    learners = {"centroids": {"scale": [True, False]}, "neighbours": {"k": [1, 9]}}

    ids = registry.add_experiments(parts, {**learners, "majority": None, "chance": None}, repls=50)
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=200, progress=False)
    frame = registry.results_frame()

    assert len(frame) == len(ids) == 3 * 2 * (2 + 2 + 1 + 1) * 50
    assert frame.columns.tolist() == [
        *("job_id", "problem", "algorithm", "repl", "share", "scale", "k"),
        *("accuracy", "observations"),
    ]
    means = frame.groupby("algorithm")["accuracy"].mean()
    assert means["centroids"] > means["majority"] > means["chance"] > 0.3
    alike = frame[frame["algorithm"] == "majority"].groupby(["problem", "share", "repl"])
    assert alike.size().eq(1).all()
    assert frame.groupby(["problem", "share", "repl"])["observations"].nunique().eq(1).all()
