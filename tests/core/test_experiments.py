"""Defining experiments: problems, algorithms, which jobs come of designs, and what is refused."""

# ruff: noqa: ARG005 - functions of experiments take what they are given

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, ReadOnly
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import ExperimentRegistry, Registry, load_registry
from batchpilot_agent.errors import CannotPickle

from .conftest import Make, MakeExperiments


GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "g02_lecture_experiment.json").read_text()
)


def golden(name: str) -> Any:
    return GOLDEN[name]["value"]


@pytest.fixture
def registry(make_experiments: MakeExperiments) -> ExperimentRegistry:
    """Give a registry of problem p1 and algorithms a1, a2, without experiments."""
    registry = make_experiments()
    registry.add_problem("p1", data=1, fun=lambda job, data, **any_name: data, seed=1)
    registry.add_algorithm("a1", lambda instance, **any_name: instance)
    registry.add_algorithm("a2", lambda instance, **any_name: instance)
    return registry


def objects(registry: Registry) -> set[str]:
    return {path.name for path in registry.paths.objects.iterdir()}


def rows(registry: Registry) -> list[tuple[Any, ...]]:
    """Return (id, problem parameters, algorithm, algorithm parameters, replication)."""
    table = registry.get_job_table()
    columns = ("job_id", "prob_pars", "algorithm", "algo_pars", "repl")
    return list(zip(*(table[column].tolist() for column in columns), strict=True))


def test_the_lecture_gets_the_originals_ids(registry: ExperimentRegistry) -> None:
    assert list(registry.add_experiments(repls=2)) == golden("addExperiments_ids")
    with pytest.warns(BatchpilotWarning, match="Skipping 4 duplicated"):
        assert list(registry.add_experiments(repls=2)) == golden("second_add_same")
    with pytest.warns(BatchpilotWarning, match="Skipping 4 duplicated"):
        assert list(registry.add_experiments(repls=3)) == golden("third_add_repls3")

    table = registry.get_job_table()
    assert table["repl"].tolist() == [row["repl"] for row in golden("status_rows_after_third")]
    assert table["algorithm"].tolist() == [
        f"a{row['def.id']}" for row in golden("status_rows_after_third")
    ]


def test_a_warning_of_skipped_experiments_points_at_the_users_line(
    registry: ExperimentRegistry,
) -> None:
    registry.add_experiments()
    with pytest.warns(BatchpilotWarning) as caught:
        registry.add_experiments()

    assert caught[0].filename == __file__


def test_the_registry_prints_as_the_original_does(registry: ExperimentRegistry) -> None:
    registry.add_experiments(repls=3)
    printed = [
        f"{line.partition(':')[0]}: <PATH>" if " dir " in line else line
        for line in repr(registry).splitlines()
    ]

    assert printed == [line.replace("TRUE", "True") for line in golden("registry_print")]


def test_bound_designs_are_extended_by_crossed_ones(registry: ExperimentRegistry) -> None:
    algorithms = {"a1": {"k": range(1, 7)}, "a2": pd.DataFrame()}
    bound = registry.add_experiments({"p1": {"n": [1, 2, 3]}}, algorithms, combine="bind")
    registry.add_problem("p2", data=2)
    second = registry.add_experiments({"p2": None}, algorithms, combine="bind")
    with pytest.warns(BatchpilotWarning, match="Skipping 16"):
        crossed = registry.add_experiments({"p1": {"n": [1, 2, 3]}, "p2": None}, algorithms)

    assert [len(ids) for ids in (bound, second, crossed)] == [9, 7, 12]
    assert len(registry.find_jobs()) == 28


def test_jobs_are_sorted_by_definition_then_replication(registry: ExperimentRegistry) -> None:
    registry.add_experiments({"p1": {"n": [1, 2]}}, {"a2": None, "a1": {"k": [5]}}, repls=2)
    with pytest.warns(BatchpilotWarning, match="Skipping 4"):
        registry.add_experiments({"p1": {"n": [3, 1]}}, {"a1": {"k": [5]}, "a2": None}, repls=3)

    assert rows(registry) == [
        (1, {"n": 1}, "a2", {}, 1),
        (2, {"n": 1}, "a2", {}, 2),
        (3, {"n": 2}, "a2", {}, 1),
        (4, {"n": 2}, "a2", {}, 2),
        (5, {"n": 1}, "a1", {"k": 5}, 1),
        (6, {"n": 1}, "a1", {"k": 5}, 2),
        (7, {"n": 2}, "a1", {"k": 5}, 1),
        (8, {"n": 2}, "a1", {"k": 5}, 2),
        (9, {"n": 1}, "a2", {}, 3),  # old definitions come first
        (10, {"n": 1}, "a1", {"k": 5}, 3),
        (11, {"n": 3}, "a1", {"k": 5}, 1),
        (12, {"n": 3}, "a1", {"k": 5}, 2),
        (13, {"n": 3}, "a1", {"k": 5}, 3),
        (14, {"n": 3}, "a2", {}, 1),
        (15, {"n": 3}, "a2", {}, 2),
        (16, {"n": 3}, "a2", {}, 3),
    ]


def test_each_problem_design_may_have_its_own_replications(registry: ExperimentRegistry) -> None:
    registry.add_problem("p2")
    registry.add_experiments({"p2": None, "p1": None}, {"a1": None}, repls=[1, 3])

    assert registry.summarize_experiments()["_count"].tolist() == [1, 3]


def test_rows_that_occur_twice_make_one_definition(registry: ExperimentRegistry) -> None:
    with pytest.warns(BatchpilotWarning, match="Skipping 2 duplicated"):
        ids = registry.add_experiments({"p1": {"n": [1, 2, 1.0]}}, {"a1": None}, repls=2)

    assert ids == [1, 2, 3, 4]


def test_equal_parameters_are_known_again_in_another_session(registry: ExperimentRegistry) -> None:
    design = [{"x": np.arange(3.0), "o": {"a": [1, float("nan")]}, "b": True}]
    registry.add_experiments({"p1": design}, {"a1": None})

    with load_registry(registry.file_dir) as again:
        same = [{"b": np.True_, "o": {"a": [1.0, np.nan]}, "x": np.arange(3.0)}]
        with pytest.warns(BatchpilotWarning, match="Skipping 1"):
            assert again.add_experiments({"p1": same}, {"a1": None}) == []
        assert again.add_experiments({"p1": [{**same[0], "b": 1}]}, {"a1": None}) == [2]


def test_large_parameters_are_stored_once(registry: ExperimentRegistry) -> None:
    array = np.arange(200_000.0)
    registry.add_experiments({"p1": [{"x": array, "i": i} for i in (1, 2)]}, {"a1": None}, repls=3)
    large = [path for path in registry.paths.objects.iterdir() if path.stat().st_size > 1e6]

    assert len(large) == 1
    assert registry.get_job_pars(6)["prob_pars"][0]["x"].sum() == array.sum()
    assert registry.find_experiments(prob_pars=lambda x, i: x[-1] > i == 2) == [4, 5, 6]


def test_more_than_a_page_of_jobs_is_extended_where_it_ended(registry: ExperimentRegistry) -> None:
    registry.add_experiments({"p1": {"n": range(700)}}, {"a1": None})
    ids = registry.add_experiments({"p1": {"n": range(700, 1500)}}, {"a1": None}, repls=2)
    table = registry.get_job_table()

    assert (ids[0], ids[-1]) == (701, 2300)
    assert table["repl"].tolist() == [1] * 700 + [1, 2] * 800
    assert [row["n"] for row in table["prob_pars"]] == [
        *range(700),
        *(n for n in range(700, 1500) for _ in (1, 2)),
    ]


def test_names_are_kept_in_the_order_of_definition(registry: ExperimentRegistry) -> None:
    registry.add_problem("a")
    with pytest.warns(BatchpilotWarning, match="ignored without a seed"):
        registry.add_problem("p1", cache=True)

    assert registry.problems == ["p1", "a"]
    assert registry.algorithms == ["a1", "a2"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".", "..", "ä!", 7, None], ids=repr)
def test_an_impossible_name_is_refused(registry: ExperimentRegistry, name: Any) -> None:
    with pytest.raises(DefinitionError, match="is no name of a problem"):
        registry.add_problem(name)
    with pytest.raises(DefinitionError, match="no name of an algorithm"):
        registry.add_algorithm(name)


@pytest.mark.parametrize("seed", [0, -1, 1.5, True, "1"], ids=repr)
def test_an_impossible_seed_is_refused(registry: ExperimentRegistry, seed: Any) -> None:
    with pytest.raises(DefinitionError, match="no positive whole number"):
        registry.add_problem("p2", seed=seed)


def test_a_function_given_as_data_is_refused(registry: ExperimentRegistry) -> None:
    with pytest.raises(DefinitionError, match="was given as data"):
        registry.add_problem("p2", lambda job, data: 1)


@pytest.mark.parametrize(
    ("prob", "algo", "more", "words"),
    [
        ({"p9": None}, None, {}, "no problem 'p9'; the problems are p1"),
        (None, {"a9": None}, {}, "no algorithm 'a9'; the algorithms are a1, a2"),
        ({"p1": {"data": [1]}}, None, {}, "cannot be called 'data'"),
        (None, {"a1": {"instance": [1]}}, {}, "cannot be called 'instance'"),
        ({"p1": {"n": [1, 2], "k": [1]}}, None, {}, "did you mean bp.grid"),
        (None, None, {"repls": 0}, "no number of replications"),
        (None, None, {"combine": "cbind"}, "no way to combine"),
        ({"p1": [{"n": threading.Lock()}]}, None, {}, "cannot be pickled"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_what_is_refused_leaves_nothing_behind(
    registry: ExperimentRegistry, prob: Any, algo: Any, more: dict[str, Any], words: str
) -> None:
    before = objects(registry)

    with pytest.raises(DefinitionError, match=words):
        registry.add_experiments(prob, algo, **more)
    assert objects(registry) == before
    assert registry.find_jobs() == []


def test_parameters_are_checked_against_functions_of_an_earlier_session(
    registry: ExperimentRegistry,
) -> None:
    registry.add_algorithm("strict", lambda instance, k, m=1: k)
    with load_registry(registry.file_dir) as again:
        with pytest.raises(DefinitionError, match="needs 'k'"):
            again.add_experiments(None, {"strict": None})
        with pytest.raises(DefinitionError, match="has no parameter 'q'"):
            again.add_experiments(None, {"strict": {"k": [1], "q": [2]}})
        assert again.add_experiments(None, {"strict": {"k": [1]}}) == [1]


def test_what_cannot_be_pickled_changes_no_definition(registry: ExperimentRegistry) -> None:
    before = objects(registry)
    lock = threading.Lock()

    with pytest.raises(CannotPickle, match="lock"):
        registry.add_problem("p2", data=lock)
    with pytest.raises(CannotPickle, match="lock"):
        registry.add_algorithm("a3", lambda instance: lock.locked())
    assert (registry.problems, registry.algorithms) == (["p1"], ["a1", "a2"])
    assert objects(registry) == before


def test_without_problems_or_algorithms_there_are_no_experiments(
    make_experiments: MakeExperiments,
) -> None:
    registry = make_experiments()

    assert registry.add_experiments() == []
    registry.add_problem("p1")
    assert registry.add_experiments(repls=3) == []
    assert registry.submit_jobs() == []


def test_a_registry_for_reading_refuses(registry: ExperimentRegistry) -> None:
    registry.add_experiments()
    with load_registry(registry.file_dir, writeable=False) as reader:
        assert isinstance(reader, ExperimentRegistry)
        for refused in (
            lambda: reader.add_problem("p2"),
            lambda: reader.add_algorithm("a3"),
            lambda: reader.add_experiments(repls=2),
            lambda: reader.remove_problems("p1"),
            lambda: reader.remove_experiments(1),
        ):
            with pytest.raises(ReadOnly):
                refused()
        assert reader.find_experiments(algo_name="a2") == [2]


def test_each_kind_of_registry_refuses_the_others_calls(
    registry: ExperimentRegistry, hand_made: Make
) -> None:
    plain = hand_made().registry

    with pytest.raises(DefinitionError, match="add_problem, add_algorithm and add_experiments"):
        registry.batch_map(abs, x=[1])
    with pytest.raises(DefinitionError, match="find_experiments"):
        registry.find_jobs("n == 1")
    for refused in (
        lambda: plain.add_problem("p"),
        lambda: plain.add_algorithm("a"),
        plain.add_experiments,
        plain.find_experiments,
        plain.summarize_experiments,
        lambda: plain.remove_experiments(1),
        lambda: plain.remove_problems("p"),
        lambda: plain.remove_algorithms("a"),
    ):
        with pytest.raises(DefinitionError, match="make_experiment_registry"):
            refused()
    assert isinstance(bp.load_registry(plain.file_dir), Registry)


def test_only_the_code_that_jobs_use_goes_with_a_submission(registry: ExperimentRegistry) -> None:
    registry.add_problem("unused", data=np.arange(1000))
    registry.add_experiments({"p1": None}, {"a2": None})

    definition = registry._definition(np.array([1]))
    assert [part.name for part in definition.problems] == ["p1"]
    assert [part.name for part in definition.algorithms] == ["a2"]
    assert len(registry._definition().problems) == 2


class Meddler:
    """Be a parameter that does something while it is pickled for the second time: to be stored."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._actions = [lambda: None, action]

    def __reduce__(self) -> Any:
        """Be pickled as a number."""
        if self._actions:
            self._actions.pop(0)()
        return int, (7,)


def test_what_another_session_adds_meanwhile_is_skipped(registry: ExperimentRegistry) -> None:
    with load_registry(registry.file_dir) as other:

        def add() -> None:
            assert other.add_experiments({"p1": {"n": [1]}}, {"a1": None}) == [1]

        with pytest.warns(BatchpilotWarning, match="Skipping 1"):
            ids = registry.add_experiments({"p1": [{"n": Meddler(add)}, {"n": 1}]}, {"a1": None})

    assert ids == [2]
    assert [row[1] for row in rows(registry)] == [{"n": 1}, {"n": 7}]


def test_a_problem_that_another_session_removes_meanwhile_is_told(
    registry: ExperimentRegistry,
) -> None:
    with load_registry(registry.file_dir) as other:
        removal = Meddler(lambda: other.remove_problems("p1"))

        with pytest.raises(DefinitionError, match="another session has removed p1"):
            registry.add_experiments({"p1": [{"n": removal}]}, {"a1": None})

    assert registry.find_jobs() == []
