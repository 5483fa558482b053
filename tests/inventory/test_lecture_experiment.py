"""The lecture's experiment (golden/g02), and what the original refuses to find (golden/g07)."""

# ruff: noqa: S311 - the generator that is seeded is what is tested

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import ExperimentRegistry

from .golden import entries, renamed, value


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ExperimentRegistry]:
    with bp.make_experiment_registry(tmp_path / "registry", seed=1, work_dir=tmp_path) as registry:
        registry.pools = bp.pools.Interactive()
        yield registry


def draw() -> float:
    return random.random()


@pytest.fixture
def lecture(registry: ExperimentRegistry) -> ExperimentRegistry:
    """Give p1, which draws a number under seed 1, with a1 and a2, two replications each."""
    registry.add_problem("p1", fun=draw, seed=1)
    registry.add_algorithm("a1", lambda instance: 2 * instance)
    registry.add_algorithm("a2", lambda instance: 1 + instance)
    assert registry.add_experiments(repls=2) == value("g02", "addExperiments_ids")
    return registry


def test_the_lectures_experiments_are_the_originals(lecture: ExperimentRegistry) -> None:
    table = lecture.get_job_table()
    defined = {row["def.id"]: row for row in value("g02", "defs")}
    rows = [{**row, **defined[row["def.id"]]} for row in value("g02", "status_rows")]

    for column in ("job.id", "repl", "problem", "algorithm"):
        assert table[column.replace(".", "_")].tolist() == [row[column] for row in rows]
    assert table["prob_pars"].tolist() == table["algo_pars"].tolist() == [{}] * 4
    assert [c.replace("_", ".") for c in table.columns] == list(value("g02", "getJobTable_columns"))
    counted = lecture.summarize_experiments().to_dict("records")
    assert counted == renamed(value("g02", "summarizeExperiments"))


def test_the_lectures_results_are_those_of_the_originals_seeds(
    lecture: ExperimentRegistry,
) -> None:
    """R's numbers differ from Python's; what was done with them is the same."""
    lecture.submit_jobs()
    table = lecture.get_job_pars().merge(lecture.reduce_results_frame())
    rows = renamed(value("g02", "getJobPars_join_results"))
    drawn = {1: random.Random(1).random(), 2: random.Random(2).random()}
    theirs = {row["seed"]: row["runif3"][0] for row in value("g03", "mersenne_runif")}

    assert table.columns.tolist() == list(renamed([dict.fromkeys(value("g02", "join_columns"))])[0])
    for ours, row, repl in zip(table["result"], rows, (1, 2, 1, 2), strict=True):
        twice = row["algorithm"] == "a1"
        assert row["result"] == pytest.approx(2 * theirs[repl] if twice else 1 + theirs[repl])
        assert ours == (2 * drawn[repl] if twice else 1 + drawn[repl])


def test_the_lectures_jobs_have_the_originals_seeds(lecture: ExperimentRegistry) -> None:
    lecture.add_algorithm("a1", lambda job: job.seed)
    lecture.add_algorithm("a2", lambda job: job.seed)
    lecture.submit_jobs()

    assert lecture.reduce_results_list() == value("g02", "job_seeds_with_registry_seed_1")


def test_the_lecture_is_extended_as_by_the_original(lecture: ExperimentRegistry) -> None:
    with pytest.warns(BatchpilotWarning, match="Skipping 4 duplicated"):
        assert lecture.add_experiments(repls=2) == value("g02", "second_add_same")
    with pytest.warns(BatchpilotWarning, match="Skipping 4 duplicated"):
        assert lecture.add_experiments(repls=3) == value("g02", "third_add_repls3")
    rows = value("g02", "status_rows_after_third")
    algorithms = {1: "a1", 2: "a2"}

    shown = lecture.get_job_table()[["job_id", "algorithm", "repl"]].to_numpy().tolist()
    assert shown == [[r["job.id"], algorithms[r["def.id"]], r["repl"]] for r in rows]
    places = re.sub(r"(File|Work) dir  : .*", r"\1 dir  : <PATH>", repr(lecture)).splitlines()
    assert places == [line.replace("TRUE", "True") for line in value("g02", "registry_print")]


@pytest.fixture
def many(registry: ExperimentRegistry) -> ExperimentRegistry:
    """Give the 24 experiments of the golden script, as far as its answers tell them."""
    registry.add_problem("p1", fun=lambda n: n)
    registry.add_problem("p2")
    registry.add_algorithm("a1", lambda instance, sq: (instance, sq))
    registry.add_algorithm("b1")
    registry.add_experiments(
        {"p1": {"n": [10, 20]}, "p2": None}, {"a1": {"sq": [1, 2, 3]}, "b1": None}, repls=2
    )
    return registry


def test_a_parameter_that_some_problems_lack_is_no_error(many: ExperimentRegistry) -> None:
    """The original refuses this unless the problem is named; that is a defect of its."""
    assert many.find_experiments(prob_pars="n == 10") == value("g07", "prob_pars_n10_p1")
    assert "'n' not found" in entries("g07")["prob_pars_without_name_filter_errors"]["error"]


WRONG: dict[str, Callable[[ExperimentRegistry], Any]] = {
    "two_names": lambda reg: reg.find_experiments(prob_name=["p1", "p2"]),  # type: ignore[arg-type]  # what is refused
    "findJobs_on_experiments_expr": lambda reg: reg.find_jobs("n == 10"),
}


@pytest.mark.parametrize("entry", WRONG)
def test_what_the_original_refuses_is_refused_with_a_remedy(
    many: ExperimentRegistry, entry: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        WRONG[entry](many)

    assert caught.value.remedy
    assert entries("g07")[entry]["error"]


def test_each_kind_of_registry_has_its_own_way_to_find(
    many: ExperimentRegistry, tmp_path: Path
) -> None:
    assert len(many.find_jobs()) == value("g07", "findJobs_on_experiments_no_expr")
    assert "ExperimentRegistry" in entries("g07")["findExperiments_on_plain_registry"]["error"]
    with bp.make_registry(tmp_path / "plain", work_dir=tmp_path) as plain:
        find: Any = getattr(plain, "find_experiments", None)
        with pytest.raises(DefinitionError, match="experiments"):
            find()
