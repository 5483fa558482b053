"""A lab: problems, algorithms and experiments for the slots of `agent`."""

from __future__ import annotations

import json
import pickle
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from batchpilot.epochs import Definition, pickle_function, store_epoch
from batchpilot.experiments.data import store_data
from batchpilot_agent.manifest import StoredAlgorithm, StoredProblem


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent, Row, SlotProcess, Template


class Lab:
    """Store problems and algorithms as a registry does, and run experiments."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.problems: dict[str, StoredProblem] = {}
        self.algorithms: dict[str, StoredAlgorithm] = {}
        agent.paths.secret.write_bytes(secrets.token_bytes(32))
        agent.paths.owner.write_text(json.dumps({"instance": "instance"}))

    def problem(
        self,
        fun: Callable[..., Any] | None = None,
        *,
        name: str = "p",
        data: Any = None,
        seed: int | None = None,
        cache: bool = False,
    ) -> Lab:
        """Define a problem."""
        stored = None if data is None else store_data(self.agent.store, data)
        self.problems[name] = StoredProblem(name, self._function(fun), stored, seed, cache)
        return self

    def algorithm(self, fun: Callable[..., Any] | None = None, *, name: str = "a") -> Lab:
        """Define an algorithm."""
        self.algorithms[name] = StoredAlgorithm(name, self._function(fun))
        return self

    @property
    def definition(self) -> Definition:
        """Return what the jobs call."""
        return Definition(
            names=("problem", "prob_pars", "algorithm", "algo_pars"),
            problems=tuple(self.problems.values()),
            algorithms=tuple(self.algorithms.values()),
        )

    def epoch(self) -> str:
        """Store the code as a submission does."""
        return store_epoch(self.agent.store, self.definition, work_dir=self.agent.work_dir)

    def template(self) -> Template:
        """Start a template and wait until it is ready."""
        template = self.agent.start(self.epoch())
        assert template.hear() == ["ready"]
        return template

    def slot(self) -> SlotProcess:
        """Fork a slot of a template of its own."""
        return self.template().fork()

    def run(self, rows: Sequence[bytes], **options: Any) -> list[Row]:
        """Run experiments one after another in a slot of their own; return their outcomes."""
        before = len(self.agent.rows())
        self.slot().run(rows, **options)
        return self.agent.rows()[before:]

    def value(self, row: bytes | None = None, **options: Any) -> Any:
        """Run one experiment and return its result."""
        return self.run([row or experiment()], **options)[0].value

    def kept(self) -> list[Path]:
        """Return the files of kept instances."""
        return sorted(p for p in self.agent.paths.cache.rglob("*") if p.is_file())

    def _function(self, fun: Callable[..., Any] | None) -> str | None:
        return None if fun is None else self.agent.store.put(pickle_function(fun))


def experiment(
    problem: str = "p",
    algorithm: str = "a",
    repl: int = 1,
    *,
    prob_pars: Mapping[str, Any] | None = None,
    algo_pars: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the parameters of an experiment as they are fed."""
    pars = cloudpickle.dumps((dict(prob_pars or {}), dict(algo_pars or {})), protocol=5)
    return pickle.dumps((problem, algorithm, repl, pars), 5)


@pytest.fixture
def lab(agent: Agent) -> Lab:
    """Give a lab without problems and algorithms."""
    return Lab(agent)


@pytest.fixture(name="experiment")
def give_experiment() -> Callable[..., bytes]:
    """Give the function that makes the parameters of an experiment."""
    return experiment
