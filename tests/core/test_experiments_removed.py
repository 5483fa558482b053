"""Removing experiments: exactly those named, and never their ids again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import numpy as np
import pytest

from batchpilot.errors import DefinitionError, SubmissionError
from batchpilot.ids import JobIds
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import ExperimentRegistry, load_registry
from batchpilot.repair import repair
from batchpilot.store.pages import State

from .conftest import MakeExperiments


@pytest.fixture
def registry(make_experiments: MakeExperiments) -> ExperimentRegistry:
    """Give p1, p2 (50 KB of data) x a1, a2 x 2 replications: 8 jobs, all done."""
    registry = make_experiments()
    registry.add_problem("p1", data=1, seed=1, cache=True, fun=lambda data, job: (data, job.repl))
    registry.add_problem("p2", data=np.arange(50_000.0), fun=lambda data: data[-1])
    registry.add_algorithm("a1", lambda instance, job: (job.external_dir, instance)[1])
    registry.add_algorithm("a2")
    registry.add_experiments(repls=2)
    registry.submit_jobs()
    return registry


def definitions(registry: ExperimentRegistry) -> int:
    with registry.database.read() as tx:
        return len(tx.all("definition_names"))


def external(registry: ExperimentRegistry) -> list[str]:
    return sorted(path.name for path in registry.paths.external.iterdir())


def test_removed_experiments_are_gone_with_all_that_is_theirs(
    registry: ExperimentRegistry,
) -> None:
    registry.add_job_tags([1, 2], "old")
    registry.set_job_names([1], ["first"])

    assert registry.remove_experiments([1]) == [1]
    assert registry.find_jobs() == [2, 3, 4, 5, 6, 7, 8]
    assert registry.get_status().defined == 7
    assert registry.get_used_job_tags([2]) == ["old"]
    assert registry.find_tagged("old") == [2]
    assert external(registry) == ["2", "5", "6"]
    assert registry.load_result(2) == (1, 2)
    assert definitions(registry) == 4
    assert registry.remove_experiments([2]) == [2]
    assert definitions(registry) == 3
    assert (registry.problems, registry.algorithms) == (["p1", "p2"], ["a1", "a2"])


def test_ids_are_never_used_again(registry: ExperimentRegistry) -> None:
    registry.remove_experiments([7, 8])
    with pytest.warns(BatchpilotWarning, match="Skipping 6"):
        assert registry.add_experiments(repls=2) == [9, 10]
    registry.remove_problems("p2")
    registry.add_problem("p2")
    with pytest.warns(BatchpilotWarning, match="Skipping 2"):
        assert registry.add_experiments() == [11, 12]


def test_unknown_ids_are_none_and_change_nothing(registry: ExperimentRegistry) -> None:
    with pytest.warns(BatchpilotWarning, match="Ignoring 1 invalid"):
        assert registry.remove_experiments([99]) == []

    assert len(registry.find_jobs()) == 8


def test_an_algorithm_takes_its_experiments_along(registry: ExperimentRegistry) -> None:
    assert registry.remove_algorithms(["a1"]) == [1, 2, 5, 6]
    assert registry.algorithms == ["a2"]
    assert registry.get_job_pars()["algorithm"].tolist() == ["a2"] * 4
    assert external(registry) == []


def test_a_problem_takes_its_experiments_instances_and_data_along(
    registry: ExperimentRegistry,
) -> None:
    size = sum(path.stat().st_size for path in registry.paths.objects.iterdir())
    assert registry.paths.instances("p1").is_dir()

    assert registry.remove_problems(["p1", "p2"]) == list(range(1, 9))
    assert not registry.paths.instances("p1").exists()
    registry.sweep()
    left = sum(path.stat().st_size for path in registry.paths.objects.iterdir())
    assert left < size - 400_000
    assert registry.problems == []
    assert definitions(registry) == 0


def test_an_unknown_name_is_refused_and_nothing_is_removed(registry: ExperimentRegistry) -> None:
    with pytest.raises(DefinitionError, match="no problem 'p9'; the problems are p1, p2"):
        registry.remove_problems(["p1", "p9"])
    with pytest.raises(DefinitionError, match="no algorithm 'p1'"):
        registry.remove_algorithms("p1")

    assert len(registry.find_jobs()) == 8


def test_experiments_on_the_system_are_not_removed(registry: ExperimentRegistry) -> None:
    with registry.database.write() as tx:
        tx.pages.put("state", np.array([3]), State.RUNNING)

    calls: list[Callable[[], JobIds]] = [
        lambda: registry.remove_experiments([1, 3]),
        lambda: registry.remove_problems("p1"),
        lambda: registry.remove_algorithms("a2"),
    ]
    for refused in calls:
        with pytest.raises(SubmissionError, match="on the system"):
            refused()
    assert len(registry.find_jobs()) == 8
    assert registry.remove_experiments([1]) == [1]


def test_a_repair_does_not_bring_removed_experiments_back(registry: ExperimentRegistry) -> None:
    registry.remove_experiments([1, 2])
    registry.close()
    database = registry.paths.root / "registry-1.db"
    database.write_bytes(b"broken" * 1000)
    for log in registry.paths.root.glob("registry-1.db-*"):
        log.unlink()

    repaired = repair(registry.paths)

    assert repaired.source.parent == registry.paths.backup
    with load_registry(registry.file_dir) as again:
        assert again.find_jobs() == [3, 4, 5, 6, 7, 8]
        assert again.find_done() == [3, 4, 5, 6, 7, 8]


def test_a_sweep_keeps_what_experiments_need(registry: ExperimentRegistry) -> None:
    registry.sweep()

    assert not registry.paths.cache.exists()
    assert registry.test_job(1) == (1, 1)
    assert registry.test_job(8) == 49_999.0
    assert registry.submit_jobs([8]) == [8]
    assert registry.load_result(8) == 49_999.0


def test_a_cleared_registry_keeps_problems_and_algorithms(registry: ExperimentRegistry) -> None:
    registry.clear()

    assert registry.find_jobs() == []
    assert len(registry.get_job_pars()) == 0
    assert registry.get_job_pars().columns.tolist() == [
        *("job_id", "problem", "prob_pars", "algorithm", "algo_pars"),
    ]
    assert (registry.problems, registry.algorithms) == (["p1", "p2"], ["a1", "a2"])
    assert registry.add_experiments() == [1, 2, 3, 4]
    registry.submit_jobs()
    assert registry.load_result(1) == (1, 1)


def test_the_database_is_sound_after_removals(registry: ExperimentRegistry) -> None:
    registry.remove_experiments(range(1, 8))
    registry.close()
    with sqlite3.connect(registry.paths.root / "registry-1.db") as database:
        rows = database.execute("SELECT LENGTH(data) FROM pars").fetchall()
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()

    assert rows == [(rows[0][0],)]
    assert 0 < rows[0][0] < 200  # the parameters of one job
