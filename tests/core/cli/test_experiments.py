"""Experiments on the command line."""

from __future__ import annotations

import pytest
from tests.core.conftest import MakeExperiments

from batchpilot.registry.whole import ExperimentRegistry

from .conftest import Call, Document


@pytest.fixture
def registry(make_experiments: MakeExperiments) -> ExperimentRegistry:
    """Give p1 (n) x a1 (k) in two replications, all done."""
    registry = make_experiments()
    registry.add_problem("p1", fun=lambda n: n)
    registry.add_algorithm("a1", lambda job, instance, k: {"sum": instance + k, "again": job.repl})
    registry.add_experiments({"p1": {"n": [10]}}, {"a1": {"k": [1]}}, repls=2)
    registry.submit_jobs()
    return registry


def test_jobs_shows_what_experiments_are(registry: ExperimentRegistry, call: Call) -> None:
    code, out, _ = call("jobs", registry.file_dir)
    head, first, *_ = [line.split() for line in out.splitlines() if line.strip()]

    assert code == 0
    assert head[:7] == ["id", "state", "took", "problem", "algorithm", "repl", "parameters"]
    assert {"p1", "a1", "n=10,", "k=1"} <= set(first)


def test_the_document_of_jobs_names_problem_algorithm_and_replication(
    registry: ExperimentRegistry, document: Document
) -> None:
    record = document("jobs", "jobs", registry.file_dir)["jobs"][1]

    assert [record[name] for name in ("problem", "algorithm", "repl")] == ["p1", "a1", 2]
    assert record["pars"] == {"prob_pars": {"n": 10}, "algo_pars": {"k": 1}}


def test_status_counts_experiments(registry: ExperimentRegistry, document: Document) -> None:
    assert document("status", "status", registry.file_dir)["jobs"]["done"] == 2


def test_results_are_shown_tidily_and_saved_whole(
    registry: ExperimentRegistry, call: Call, document: Document
) -> None:
    columns = call("results", registry.file_dir)[1].split()[:8]
    record = document("results", "results", registry.file_dir)["results"][1]

    assert columns == ["job_id", "problem", "algorithm", "repl", "n", "k", "sum", "again"]
    assert (record["algorithm"], record["result"]) == ("a1", {"sum": 11, "again": 2})


def test_the_code_of_an_experiment_is_that_of_its_problem_and_its_algorithm(
    registry: ExperimentRegistry, document: Document, call: Call
) -> None:
    code = document("jobs --code", "jobs", registry.file_dir, "--code", 1)

    assert "fun=lambda n: n" in code["problem"]["source"]
    assert "lambda job, instance, k:" in code["function"]["source"]
    assert "# Problem " in call("jobs", registry.file_dir, "--code", 1)[1]
