"""Redefining what jobs call, and finding the jobs that were computed with what was before."""

# ruff: noqa: ARG005 - functions of experiments take what they are given

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchpilot.errors import DefinitionError
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import ExperimentRegistry, Registry, load_registry
from batchpilot.store.pages import State

from .conftest import MakeExperiments, MakeHere


Write = Callable[[str], Any]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Give a function that writes the module `studied` anew and returns it, imported afresh."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> Any:
        (tmp_path / "studied.py").write_text(text)
        sys.modules.pop("studied", None)
        importlib.invalidate_caches()
        return importlib.import_module("studied")

    yield write
    sys.modules.pop("studied", None)


@pytest.fixture
def mapped(make_here: MakeHere) -> Registry:
    """Give a map of three jobs, 1 and 2 done."""
    registry = make_here()
    registry.batch_map(lambda i, k: i * k, i=[1, 2, 3], more_args={"k": 10})
    registry.submit_jobs([1, 2])
    return registry


@pytest.fixture
def experiments(make_experiments: MakeExperiments) -> ExperimentRegistry:
    """Give p1, p2 x a1, a2, all done."""
    registry = make_experiments()
    registry.add_problem("p1", data=1)
    registry.add_problem("p2", data=[2], seed=5, fun=lambda data, job: data[0])
    registry.add_algorithm("a1", lambda instance: instance)
    registry.add_algorithm("a2", lambda instance: -instance)
    registry.add_experiments()
    registry.submit_jobs()
    return registry


def test_nothing_is_stale_at_first(mapped: Registry, experiments: ExperimentRegistry) -> None:
    assert mapped.find_stale() == []
    assert experiments.find_stale() == []


def test_a_map_is_redefined_and_its_old_results_stay_until_submitted_again(
    mapped: Registry,
) -> None:
    with pytest.warns(BatchpilotWarning, match="2 job.*old function are now stale"):
        assert mapped.redefine(lambda i, k: i + k) == [1, 2]

    assert mapped.reduce_results_list() == [10, 20]
    assert mapped.find_stale([2, 3]) == [2]
    mapped.submit_jobs()  # job 3: with the new function, so it is not stale
    assert mapped.load_result(3) == 13
    assert mapped.find_stale() == [1, 2]
    mapped.submit_jobs(mapped.find_stale())
    assert mapped.reduce_results_list() == [11, 12, 13]
    assert mapped.find_stale() == []


def test_static_arguments_are_redefined_with_the_function_or_stay(mapped: Registry) -> None:
    with pytest.warns(BatchpilotWarning, match="stale"):
        mapped.redefine(lambda i, k, m: (i, k, m), more_args={"k": 1, "m": 2})
    assert mapped.test_job(1) == (1, 1, 2)
    with pytest.warns(BatchpilotWarning, match="stale"):
        mapped.redefine(lambda i, job, k, m: (job.id, i, k + m))
    assert mapped.test_job(3) == (3, 3, 3)
    with pytest.warns(BatchpilotWarning, match="stale"):
        mapped.redefine(lambda i: i, more_args=None)
    assert mapped.test_job(3) == 3


@pytest.mark.parametrize(
    ("fun", "more", "words"),
    [
        (lambda i: i, {}, "no parameter 'k'"),
        (lambda i, k, m: i, {}, "needs 'm'"),
        (lambda j, k: j, {}, "no parameter 'i'"),
        (7, {}, "no function"),
    ],
    ids=["k", "m", "j", "7"],
)
def test_a_function_that_does_not_fit_is_refused_and_nothing_changes(
    mapped: Registry, fun: Any, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(DefinitionError, match=words):
        mapped.redefine(fun, **more)

    assert mapped.find_stale() == []
    assert mapped.test_job(3) == 30


def test_the_same_function_makes_nothing_stale(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_map(abs_of, x=[-1])
    registry.submit_jobs()

    assert registry.redefine(abs_of) == []


def abs_of(x: int) -> int:
    return abs(x)


def test_without_jobs_or_of_experiments_nothing_is_redefined(
    make_here: MakeHere, experiments: ExperimentRegistry
) -> None:
    with pytest.raises(DefinitionError, match="there are no jobs"):
        make_here().redefine(abs_of)
    with pytest.raises(DefinitionError, match="add_algorithm"):
        experiments.redefine(abs_of)


def test_an_imported_function_is_stale_when_its_file_has_changed(
    make_here: MakeHere, write_module: Write
) -> None:
    registry = make_here()
    registry.batch_map(write_module("def f(x):\n    return x\n").f, x=[1, 2])
    registry.submit_jobs(1)
    assert registry.find_stale() == []

    module = write_module("def f(x):\n    return 100 * x\n")

    assert registry.find_stale() == [1]
    registry.submit_jobs(2)
    assert registry.find_stale() == [1]
    assert [registry.load_result(job) for job in (1, 2)] == [1, 200]
    assert module.f(1) == 100


def test_a_file_that_is_gone_makes_nothing_stale(
    make_here: MakeHere, write_module: Write, tmp_path: Path
) -> None:
    registry = make_here()
    registry.batch_map(write_module("def f(x):\n    return x\n").f, x=[1])
    registry.submit_jobs()
    (tmp_path / "studied.py").unlink()

    assert registry.find_stale() == []


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda r: r.add_problem("p1", data=3), [1, 2]),
        (lambda r: r.add_problem("p1", data=1, seed=9), [1, 2]),
        (lambda r: r.add_problem("p1", data=1, fun=lambda data: data), [1, 2]),
        (lambda r: r.add_problem("p2", data=[2], seed=5, fun=lambda data, job: 7), [3, 4]),
        (lambda r: r.add_algorithm("a2", lambda instance: 2 * instance), [2, 4]),
        (lambda r: r.add_algorithm("a2"), [2, 4]),
    ],
    ids=["data", "seed", "function", "other function", "algorithm", "no function"],
)
def test_what_is_defined_anew_makes_its_experiments_stale(
    experiments: ExperimentRegistry, change: Callable[[ExperimentRegistry], None], stale: list[int]
) -> None:
    before = experiments.reduce_results_list()
    with pytest.warns(BatchpilotWarning, match=f"{len(stale)} job.* are now stale"):
        change(experiments)

    assert experiments.find_stale() == stale
    assert experiments.reduce_results_list() == before
    with load_registry(experiments.file_dir, writeable=False) as again:
        assert again.find_stale() == stale
    experiments.submit_jobs(experiments.find_stale())
    assert experiments.find_stale() == []


def test_what_is_defined_as_it_was_makes_nothing_stale(experiments: ExperimentRegistry) -> None:
    experiments.add_problem("p1", data=1, cache=False)

    assert experiments.find_stale() == []


def test_a_warning_tells_only_of_what_was_defined_anew(experiments: ExperimentRegistry) -> None:
    with pytest.warns(BatchpilotWarning, match="2 job"):
        experiments.add_problem("p1", data=3)
    with pytest.warns(BatchpilotWarning, match=r"^2 job.*algorithm 'a1'"):
        experiments.add_algorithm("a1")

    assert experiments.find_stale() == [1, 2, 3]


def test_jobs_that_are_queued_or_run_are_stale_too_and_defined_ones_are_not(
    experiments: ExperimentRegistry,
) -> None:
    experiments.reset_jobs([4])
    with experiments.database.write() as tx:
        tx.pages.put("state", np.array([2, 3]), np.array([State.QUEUED, State.RUNNING]))
    with pytest.warns(BatchpilotWarning, match="1 job"):
        experiments.add_algorithm("a2")
    with pytest.warns(BatchpilotWarning, match="1 job"):
        experiments.add_problem("p2", data=[5])

    assert experiments.find_stale() == [2, 3]
