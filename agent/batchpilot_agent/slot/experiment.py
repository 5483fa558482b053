"""Run an experiment: make the instance of a problem, then apply an algorithm to it.

    seed(instance seed)   instance = problem(job, data, **prob_pars)
    seed(job seed)        result = algorithm(job, data, instance, **algo_pars)

A function gets `job`, `data` and `instance` only where it names them; its parameters go by name.
The instance seed depends on problem and replication alone, so all algorithms of a replication see
the same instance. Without a problem function the data is the instance, without an algorithm the
instance is the result.

Each function has a Job of its own, whose `rng` is a stream of its own; of all else they are equal.
In one job both functions see the same data, what the first has changed in it included; only where
instances are kept (`instances`), the algorithm sees none of it, whoever has made the instance.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

import msgpack

from batchpilot_agent.errors import EpochError
from batchpilot_agent.job import Job
from batchpilot_agent.manifest import StoredAlgorithm, StoredData, StoredProblem
from batchpilot_agent.objects import ObjectStore

from .data import StaticData, load_pickle
from .instances import InstanceCache, instance_key
from .seeds import instance_seed


Function = Callable[..., Any]
Seed = Callable[[int], None]
Part = TypeVar("Part")

_JOB, _DATA, _INSTANCE = "job", "data", "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Hold what instances are made of, ready to be called.

    Attributes:
        name: Its name.
        function: Makes an instance; None: the data is the instance.
        takes: Which of `job` and `data` it names; without a function, `data`.
        data: The static data; None where there is none.
        seed: Seed of the first replication's instance; None: that of the job.
        key: What stands for it among kept instances; None: they are not kept.
    """

    name: str
    function: Function | None
    takes: frozenset[str]
    data: StaticData | None
    seed: int | None
    key: bytes | None

    def make(self, job: Job, data: Any, seed: Seed) -> Any:
        """Return an instance."""
        if self.function is None:
            return data
        given = {_DATA: data} if _DATA in self.takes else {}
        if _JOB in self.takes:
            given[_JOB] = replace(job, stream=self._stream(job))
        seed(cast("int", job.instance_seed))
        return self.function(**job.pars["prob_pars"], **given)

    def take_data(self) -> Any:
        """Return the data for one job, None where there is none."""
        return None if self.data is None else self.data.take()

    def _stream(self, job: Job) -> tuple[int, tuple[int, ...]]:
        """Return entropy and spawn key of the problem function's own generator."""
        if self.seed is None:
            return job.stream[0], (1, job.id)
        return self.seed, (1, cast("int", job.repl))


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """Hold what is applied to instances, ready to be called.

    Attributes:
        name: Its name.
        function: Takes an instance; None: the instance is the result.
        takes: Which of `job`, `data` and `instance` it names.
    """

    name: str
    function: Function | None
    takes: frozenset[str]

    def apply(self, job: Job, data: Any, instance: Any, seed: Seed) -> Any:
        """Return the result for an instance."""
        if self.function is None:
            return instance
        known = {_JOB: job, _DATA: data, _INSTANCE: instance}
        given = {name: known[name] for name in self.takes}
        seed(job.seed)
        return self.function(**job.pars["algo_pars"], **given)


class Experiments:
    """Run the experiments of an epoch.

    Args:
        problems: Its problems.
        algorithms: Its algorithms.
    """

    def __init__(self, problems: Sequence[Problem], algorithms: Sequence[Algorithm]) -> None:
        self._problems = {problem.name: problem for problem in problems}
        self._algorithms = {algorithm.name: algorithm for algorithm in algorithms}
        self._data = {problem.data for problem in problems if problem.data is not None}
        parts: list[Problem | Algorithm] = [*problems, *algorithms]
        self.functions = [part.function for part in parts if part.function is not None]

    def instance_seed(self, problem: str, repl: int, job_seed: int) -> int:
        """Return the seed under which the instance of a job is made.

        Raises:
            EpochError: The problem is not in the epoch.
        """
        return instance_seed(_find(self._problems, problem, "problem").seed, repl, job_seed)

    def spent(self) -> bool:
        """Tell whether another process would have some data sooner than this one."""
        return any(data.spent for data in self._data)

    def run(self, job: Job, seed: Seed, cache: InstanceCache | None = None) -> Any:
        """Run one experiment and return its result.

        Args:
            job: The job, as the algorithm sees it.
            seed: Seeds the generators.
            cache: Where instances are kept; None: every one is made.

        Raises:
            EpochError: Its problem or its algorithm is not in the epoch.
        """
        problem = _find(self._problems, job.problem, "problem")
        algorithm = _find(self._algorithms, job.algorithm, "algorithm")
        if cache is not None and problem.key is not None:
            instance = _kept(problem, problem.key, job, seed, cache)
            data = problem.take_data() if _DATA in algorithm.takes else None
        else:
            wanted = _DATA in problem.takes or _DATA in algorithm.takes
            data = problem.take_data() if wanted else None
            instance = problem.make(job, data, seed)
        return algorithm.apply(job, data, instance, seed)


def read_experiments(
    store: ObjectStore,
    problems: Sequence[StoredProblem],
    algorithms: Sequence[StoredAlgorithm],
    *,
    code: bytes = b"",
) -> Callable[[], Experiments]:
    """Read all that experiments are made of; return what unpickles it.

    Args:
        store: The registry's objects.
        problems: What instances are made of.
        algorithms: What is applied to them.
        code: What stands for the code that the functions may import or find, so that kept
            instances are those of this code.

    Raises:
        ObjectMissing: An object is not there.
        ObjectForged: An object is damaged.
    """
    parts: list[StoredProblem | StoredAlgorithm] = [*problems, *algorithms]
    functions = {
        part.function: store.get(part.function) for part in parts if part.function is not None
    }
    wanted = {problem.data for problem in problems if problem.data is not None}
    data = {stored: StaticData(store, stored) for stored in wanted}
    return partial(_load, problems, algorithms, functions, data, code)


def _load(
    problems: Sequence[StoredProblem],
    algorithms: Sequence[StoredAlgorithm],
    pickles: Mapping[str, bytes],
    data: Mapping[StoredData, StaticData],
    code: bytes,
) -> Experiments:
    """Return the experiments, every function and every data unpickled once.

    Raises:
        ImportFailed: Something cannot be unpickled here.
    """
    functions = {name: load_pickle(pickled) for name, pickled in pickles.items()}
    for value in data.values():
        value.load()
    return Experiments(
        [_problem(stored, functions, data, code) for stored in problems],
        [_algorithm(stored, functions) for stored in algorithms],
    )


def _problem(
    stored: StoredProblem,
    functions: Mapping[str, Function],
    data: Mapping[StoredData, StaticData],
    code: bytes,
) -> Problem:
    function = None if stored.function is None else functions[stored.function]
    kept = stored.cache and stored.seed is not None and function is not None
    return Problem(
        name=stored.name,
        function=function,
        takes=_taken(function, _JOB, _DATA) if function else frozenset((_DATA,)),
        data=None if stored.data is None else data[stored.data],
        seed=stored.seed,
        key=msgpack.packb([stored.function, stored.data, stored.seed, code]) if kept else None,
    )


def _algorithm(stored: StoredAlgorithm, functions: Mapping[str, Function]) -> Algorithm:
    function = None if stored.function is None else functions[stored.function]
    return Algorithm(
        name=stored.name,
        function=function,
        takes=_taken(function, _JOB, _DATA, _INSTANCE) if function else frozenset(),
    )


def _taken(function: Function, *names: str) -> frozenset[str]:
    """Return which of some names are parameters of a function; some written in C do not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return frozenset()
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return frozenset(by_name.intersection(names))


def _kept(problem: Problem, key: bytes, job: Job, seed: Seed, cache: InstanceCache) -> Any:
    """Return the instance that another job has made, or make and keep it."""
    name = instance_key(key, cast("int", job.repl), job.pars["prob_pars"])

    def make() -> Any:
        return problem.make(job, problem.take_data() if _DATA in problem.takes else None, seed)

    return cache.get(problem.name, name, make)


def _find(parts: Mapping[str, Part], name: str | None, what: str) -> Part:
    found = parts.get(name or "")
    if found is None:
        raise EpochError(
            f"the code that was submitted has no {what} {name!r}", remedy="submit the jobs again"
        )
    return found
