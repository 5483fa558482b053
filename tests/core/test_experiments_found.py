"""Finding and counting experiments, against golden/g07 where it has the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchpilot.errors import DefinitionError, UnknownName
from batchpilot.registry.whole import ExperimentRegistry

from .conftest import MakeExperiments


G02, G07 = (
    json.loads((Path(__file__).parents[1] / "golden" / name).read_text())
    for name in ("g02_lecture_experiment.json", "g07_find.json")
)


def golden(name: str) -> Any:
    value = G07[name]["value"]
    value = value["ids"] if isinstance(value, dict) else value
    return value if isinstance(value, list) else [value]


@pytest.fixture
def registry(make_experiments: MakeExperiments) -> ExperimentRegistry:
    """Give the experiments of the golden file: p1 (n), p2 (none) with a1 (sq), b1 (none), twice."""
    registry = make_experiments()
    registry.add_problem("p1", fun=lambda n: n)
    registry.add_problem("p2")
    registry.add_algorithm("a1", lambda instance, sq: (instance, sq))
    registry.add_algorithm("b1")
    registry.add_experiments(
        {"p1": {"n": [10, 20]}, "p2": None}, {"a1": {"sq": [1, 2, 3]}, "b1": None}, repls=2
    )
    return registry


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("all", {}),
        ("prob_p1", {"prob_name": "p1"}),
        ("prob_substring_p", {"prob_name": "p"}),
        ("prob_pattern_2$", {"prob_pattern": "2$"}),
        ("algo_pattern_^a", {"algo_pattern": "^a"}),
        ("algo_b1", {"algo_name": "b1"}),
        ("repls_2", {"repls": 2}),
        ("repls_5", {"repls": 5}),
        ("combo", {"prob_name": "p1", "algo_pattern": "^a", "repls": 1}),
        ("ids_1_6_p1", {"ids": range(1, 7), "prob_name": "p1"}),
        ("prob_pars_n10_p1", {"prob_name": "p1", "prob_pars": "n == 10"}),
        ("algo_pars_sq2_a1", {"algo_name": "a1", "algo_pars": "sq == 2"}),
        ("both", {"prob_pars": "n == 20", "algo_pars": "sq > 1", "repls": [2]}),
    ],
)
def test_what_the_original_finds_is_found(
    registry: ExperimentRegistry, entry: str, asked: dict[str, Any]
) -> None:
    assert list(registry.find_experiments(**asked)) == golden(entry)


def test_without_an_expression_all_jobs_are_found(registry: ExperimentRegistry) -> None:
    assert len(registry.find_jobs()) == G07["findJobs_on_experiments_no_expr"]["value"]
    assert registry.find_jobs(ids=[3, 1]) == [1, 3]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"prob_pars": "n == 10"}, golden("prob_pars_n10_p1")),
        ({"prob_pars": lambda n: n == 10}, golden("prob_pars_n10_p1")),
        ({"prob_pars": "n == 10", "prob_name": "p2"}, []),
        ({"prob_pars": lambda n=0: n == 0}, [17, 18, 19, 20, 21, 22, 23, 24]),
        ({"prob_pars": lambda **pars: not pars, "repls": 1}, [17, 19, 21, 23]),
        ({"prob_pars": "n == 10 | True", "repls": 1, "algo_name": "b1"}, [13, 15, 23]),
    ],
    ids=["text", "function", "other problem", "default", "any", "unknown or true"],
)
def test_a_parameter_that_some_lack_is_no_error(
    registry: ExperimentRegistry, asked: dict[str, Any], found: list[int]
) -> None:
    assert list(registry.find_experiments(**asked)) == found


def test_the_callers_variables_are_visible(registry: ExperimentRegistry) -> None:
    wanted = [20]

    assert list(registry.find_experiments(prob_pars="n in wanted", repls=1, algo_name="b1")) == [15]
    assert wanted == [20]


def test_a_parameter_goes_before_a_variable_also_where_it_is_lacking(
    registry: ExperimentRegistry,
) -> None:
    n = 10

    assert registry.find_experiments(prob_name="p2", prob_pars="n == 10") == []
    assert n == 10


@pytest.mark.parametrize("expr", ["m == 10", lambda m: m == 10], ids=["text", "function"])
def test_a_name_that_nothing_has_is_an_error(registry: ExperimentRegistry, expr: Any) -> None:
    with pytest.raises(UnknownName, match="'m'"):
        registry.find_experiments(prob_pars=expr)


def test_an_expression_that_fails_names_a_job(registry: ExperimentRegistry) -> None:
    with pytest.raises(DefinitionError, match="fails for job 13: ZeroDivisionError"):
        registry.find_experiments(ids=range(13, 17), prob_pars="1 / (n - 10) > 0")


def test_each_set_of_parameters_is_looked_at_once(registry: ExperimentRegistry) -> None:
    seen = []

    def looked_at(sq: int) -> bool:
        seen.append(sq)
        return True

    assert len(registry.find_experiments(algo_pars=looked_at)) == 18
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"prob_name": ["p1", "p2"]}, "no single string"),
        ({"algo_pattern": 1}, "no single string"),
        ({"prob_pattern": "("}, "no regular expression"),
        ({"repls": "1"}, "no replications"),
        ({"repls": [1.5]}, "no replications"),
        ({"prob_pars": "n"}, "must give True or False"),
        ({"prob_pars": 7}, "no predicate"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    registry: ExperimentRegistry, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(DefinitionError, match=words):
        registry.find_experiments(**asked)


def test_nothing_is_found_where_nothing_is_defined(make_experiments: MakeExperiments) -> None:
    registry = make_experiments()

    assert registry.find_experiments() == []
    assert registry.find_experiments(prob_name="p1", repls=1) == []
    assert registry.find_experiments(prob_pars="n == 1") == []
    assert len(registry.summarize_experiments()) == 0
    assert registry.find_stale() == []


def test_the_lecture_is_counted_as_the_original_does(make_experiments: MakeExperiments) -> None:
    registry = make_experiments()
    registry.add_problem("p1")
    registry.add_algorithm("a1")
    registry.add_algorithm("a2")
    registry.add_experiments(repls=2)

    wanted = [
        {name.replace(".", "_"): value for name, value in row.items()}
        for row in G02["summarizeExperiments"]["value"]
    ]
    assert registry.summarize_experiments().to_dict("records") == wanted


def test_experiments_are_counted_by_parameters_with_a_group_of_those_without(
    registry: ExperimentRegistry,
) -> None:
    counted = registry.summarize_experiments(by=["problem", "n"])

    assert counted.columns.tolist() == ["problem", "n", "_count"]
    assert counted["_count"].tolist() == [8, 8, 8]
    assert counted["n"].tolist()[:2] == [10, 20]
    assert pd.isna(counted["n"][2])
    assert registry.summarize_experiments(by="repl")["_count"].tolist() == [12, 12]
    assert registry.summarize_experiments(range(1, 5), by="sq")["_count"].tolist() == [2, 2]


@pytest.mark.parametrize(("by", "words"), [("m", "no column 'm'"), ([], "nothing to count by")])
def test_a_column_that_is_not_there_is_refused(
    registry: ExperimentRegistry, by: Any, words: str
) -> None:
    with pytest.raises(DefinitionError, match=words):
        registry.summarize_experiments(by=by)


def test_values_that_cannot_be_grouped_are_refused(registry: ExperimentRegistry) -> None:
    registry.add_problem("lists", fun=lambda xs: xs)
    registry.add_experiments({"lists": [{"xs": [1, 2]}]}, {"b1": None})

    with pytest.raises(DefinitionError, match="cannot be grouped"):
        registry.summarize_experiments(by="xs")
