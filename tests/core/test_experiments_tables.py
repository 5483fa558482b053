"""Experiments in tables and in results."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError
from batchpilot.registry.whole import ExperimentRegistry

from .conftest import MakeExperiments


G02 = json.loads((Path(__file__).parents[1] / "golden" / "g02_lecture_experiment.json").read_text())


@pytest.fixture
def registry(make_experiments: MakeExperiments) -> ExperimentRegistry:
    """Give p1 (n) x a1 (k), a2 in two replications, all done: (n, k or nothing, replication)."""
    registry = make_experiments()
    registry.add_problem("p1", fun=lambda n: n)
    registry.add_algorithm("a1", lambda job, instance, k: {"sum": instance + k, "again": job.repl})
    registry.add_algorithm("a2", lambda job, instance: {"sum": instance, "again": job.repl})
    registry.add_experiments({"p1": {"n": [10]}}, {"a1": {"k": [1]}, "a2": None}, repls=2)
    registry.submit_jobs()
    return registry


def test_the_table_has_the_originals_columns_in_their_order(registry: ExperimentRegistry) -> None:
    table = registry.get_job_table()

    wanted = [name.replace(".", "_") for name in G02["getJobTable_columns"]["value"]]
    assert table.columns.tolist() == wanted
    assert table["repl"].tolist() == [1, 2, 1, 2]
    assert registry.get_job_status().columns.tolist() == wanted[:13]


def test_parameters_are_two_dicts_beside_the_names(registry: ExperimentRegistry) -> None:
    table = registry.get_job_pars([1, 3])

    assert table.to_dict("records") == [
        {"job_id": 1, "problem": "p1", "prob_pars": {"n": 10}, "algorithm": "a1"}
        | {"algo_pars": {"k": 1}},
        {"job_id": 3, "problem": "p1", "prob_pars": {"n": 10}, "algorithm": "a2", "algo_pars": {}},
    ]
    assert table.columns.tolist() == ["job_id", *NAMES]
    assert bp.unwrap(table).columns.tolist() == ["job_id", "problem", "algorithm", "n", "k"]


NAMES = ["problem", "prob_pars", "algorithm", "algo_pars"]


def test_what_a_caller_does_to_a_table_is_no_others_business(registry: ExperimentRegistry) -> None:
    pars = registry.get_job_pars()["prob_pars"].tolist()
    pars[0]["n"] = 99

    assert pars[1] == {"n": 10}
    assert registry.get_job_pars()["prob_pars"].tolist()[0] == {"n": 10}


def test_results_are_one_tidy_table(registry: ExperimentRegistry) -> None:
    frame = registry.results_frame()

    assert frame.columns.tolist() == [
        *("job_id", "problem", "algorithm", "repl", "n", "k", "sum", "again"),
    ]
    assert frame["sum"].tolist() == [11, 11, 10, 10]
    assert frame["repl"].tolist() == frame["again"].tolist() == [1, 2, 1, 2]
    assert frame["k"].isna().tolist() == [False, False, True, True]
    assert frame.dtypes[["repl", "n", "sum"]].tolist() == ["int64"] * 3


def test_results_that_are_not_spread_keep_the_dicts(registry: ExperimentRegistry) -> None:
    frame = registry.results_frame([4], unwrap=False)

    assert frame.to_dict("records") == [
        {
            "job_id": 4,
            "problem": "p1",
            "algorithm": "a2",
            "repl": 2,
            "prob_pars": {"n": 10},
            "algo_pars": {},
            "result": {"sum": 10, "again": 2},
        }
    ]


def test_names_that_clash_get_a_prefix(make_experiments: MakeExperiments) -> None:
    registry = make_experiments()
    registry.add_problem("p", fun=lambda n, repl, m: n)  # noqa: ARG005 - its parameters matter
    registry.add_algorithm("a", lambda instance, n, result: (instance, n, result))
    registry.add_experiments(
        {"p": {"n": [1], "repl": [2], "m": [3]}}, {"a": {"n": [4], "result": [5]}}
    )
    registry.submit_jobs()

    assert registry.results_frame().drop(columns=["problem", "algorithm"]).to_dict("records") == [
        {
            "job_id": 1,
            "repl": 1,
            "prob_pars.n": 1,
            "prob_pars.repl": 2,
            "m": 3,
            "algo_pars.n": 4,
            "algo_pars.result": 5,
            "result.1": 1,
            "result.2": 4,
            "result.3": 5,
        }
    ]


def test_a_result_called_as_a_parameter_is_refused_with_the_remedy(
    make_experiments: MakeExperiments,
) -> None:
    registry = make_experiments()
    registry.add_problem("p", fun=lambda n: n)
    registry.add_algorithm("a", lambda instance: {"n": instance})
    registry.add_experiments({"p": {"n": [1]}})
    registry.submit_jobs()

    with pytest.raises(DefinitionError, match=r"name clash.*: n;"):
        registry.results_frame()
    assert len(registry.results_frame(unwrap=False)) == 1


def test_without_results_the_columns_are_there(make_experiments: MakeExperiments) -> None:
    registry = make_experiments()
    registry.add_problem("p")
    registry.add_algorithm("a")
    registry.add_experiments()

    frame = registry.results_frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == ["job_id", "problem", "algorithm", "repl", "result"]
    assert len(frame) == 0
