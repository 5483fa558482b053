"""Any sequence of adding and removing experiments, against a model of a few lines."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import ExperimentRegistry, load_registry, make_experiment_registry


Pars = tuple[tuple[str, Any], ...]
Definition = tuple[str, str, Pars, Pars]
Design = list[dict[str, int]]

PROBLEMS, ALGORITHMS = ("p1", "p2"), ("a1", "a2", "a3")


@dataclass
class Model:
    """What a registry of experiments should hold: definitions in order, jobs by id."""

    definitions: list[Definition] = field(default_factory=list)
    jobs: dict[int, tuple[Definition, int]] = field(default_factory=dict)
    last: int = 0

    def add(self, call: Add) -> list[int]:
        """Return the ids of the new jobs."""
        wanted = {}
        for (problem, rows), times in zip(call.problems.items(), call.times(), strict=True):
            for algorithm, columns in call.algorithms.items():
                for row, column in call.combined(rows or [{}], columns or [{}]):
                    wanted[problem, algorithm, pars(row), pars(column)] = times
        self.definitions += [one for one in wanted if one not in self.definitions]
        new = [
            (definition, repl)
            for definition in self.definitions
            for repl in range(1, wanted.get(definition, 0) + 1)
            if (definition, repl) not in self.jobs.values()
        ]
        ids = list(range(self.last + 1, self.last + 1 + len(new)))
        self.jobs |= dict(zip(ids, new, strict=True))
        self.last += len(new)
        return ids

    def remove(self, chosen: list[int]) -> list[int]:
        """Return the ids that were there."""
        gone = sorted(set(chosen) & self.jobs.keys())
        for job in gone:
            del self.jobs[job]
        used = {definition for definition, _ in self.jobs.values()}
        self.definitions = [one for one in self.definitions if one in used]
        return gone


@dataclass
class Add:
    """A call of add_experiments."""

    problems: dict[str, Design]
    algorithms: dict[str, Design]
    repls: list[int]
    combine: str

    def times(self) -> list[int]:
        """Return the replications of each problem design."""
        return [self.repls[at % len(self.repls)] for at in range(len(self.problems))]

    def combined(self, rows: Design, columns: Design) -> Iterator[tuple[Any, Any]]:
        """Yield the pairs of rows."""
        if self.combine == "crossprod":
            yield from product(rows, columns)
            return
        for at in range(max(len(rows), len(columns))):
            yield rows[at % len(rows)], columns[at % len(columns)]


def pars(row: dict[str, int]) -> Pars:
    return tuple(sorted(row.items()))


designs = st.lists(
    st.dictionaries(st.sampled_from("nk"), st.integers(1, 3), max_size=2), max_size=3
)
adding = st.builds(
    Add,
    problems=st.dictionaries(st.sampled_from(PROBLEMS), designs, max_size=2),
    algorithms=st.dictionaries(st.sampled_from(ALGORITHMS), designs, max_size=2),
    repls=st.lists(st.integers(1, 3), min_size=1, max_size=1),
    combine=st.sampled_from(["crossprod", "bind"]),
)
removing = st.lists(st.integers(1, 40), max_size=4, unique=True)
steps = st.lists(adding | removing, min_size=1, max_size=5)


def make(place: str) -> ExperimentRegistry:
    registry = make_experiment_registry(Path(place) / "registry", seed=1, work_dir=place)
    for name in PROBLEMS:
        registry.add_problem(name)
    for name in ALGORITHMS:
        registry.add_algorithm(name)
    return registry


def jobs_of(registry: Any) -> dict[int, tuple[Definition, int]]:
    columns = ("job_id", "problem", "algorithm", "prob_pars", "algo_pars", "repl")
    table = registry.get_job_table()
    return {
        job: ((problem, algorithm, pars(prob), pars(algo)), repl)
        for job, problem, algorithm, prob, algo, repl in table[list(columns)].itertuples(
            index=False
        )
    }


@given(steps)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_ids_order_and_skipping_are_those_of_the_model(script: list[Add | list[int]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as place, make(place) as registry:
        for step in script:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BatchpilotWarning)
                if isinstance(step, Add):
                    found = registry.add_experiments(
                        step.problems, step.algorithms, repls=step.repls, combine=step.combine
                    )
                    assert list(found) == model.add(step)
                else:
                    assert list(registry.remove_experiments(step)) == model.remove(step)
            assert jobs_of(registry) == model.jobs
        with load_registry(registry.file_dir, writeable=False) as again:
            assert jobs_of(again) == model.jobs
            for repl in (1, 2):
                wanted = [job for job, (_, number) in model.jobs.items() if number == repl]
                assert list(again.find_experiments(repls=repl)) == wanted
