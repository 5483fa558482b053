"""Define what experiments are made of: problems and algorithms."""

from __future__ import annotations

import re
from inspect import isfunction
from typing import Any

import numpy as np

from batchpilot.epochs import Definition
from batchpilot.errors import DefinitionError
from batchpilot.experiments.data import store_data
from batchpilot.experiments.staleness import made_of
from batchpilot.experiments.taking import ALGORITHM_OWN, PROBLEM_OWN, Taking
from batchpilot.functions import pickle_function
from batchpilot.ids import JobIds
from batchpilot.notices import warn
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import (
    KIND,
    NAMES,
    Experiments,
    names_in_use,
    put_algorithm,
    put_problem,
    read_algorithms,
    read_problems,
)
from batchpilot.store.pages import Ids
from batchpilot.store.tidying import discard
from batchpilot_agent.manifest import StoredAlgorithm, StoredProblem

from .redefining import Redefining


_NAME = re.compile(r"[\w.-]+")


class DefiningParts(Redefining):
    """Define problems and algorithms."""

    @property
    def problems(self) -> list[str]:
        """Return the names of the problems, in the order of definition."""
        with self._db.read() as tx:
            return list(read_problems(tx))

    @property
    def algorithms(self) -> list[str]:
        """Return the names of the algorithms, in the order of definition."""
        with self._db.read() as tx:
            return list(read_algorithms(tx))

    def add_problem(
        self,
        name: str,
        data: Any = None,
        fun: Any = None,
        seed: int | None = None,
        cache: bool = False,
    ) -> None:
        """Define a problem, or define it anew: static data, and a function that makes an instance.

        The function gets `job` and `data` where it names them, and the parameters of a design by
        name; what it returns is the instance that algorithms are applied to. It is called in each
        job. Jobs computed with an older definition of the problem stay, and `find_stale` finds
        them.

        Args:
            name: Of letters, digits, `_`, `.` and `-`.
            data: Anything that can be pickled; stored once, and loaded once by each agent.
            fun: Makes an instance; None: the data is the instance.
            seed: Seed of the instance of replication 1, seed + 1 of replication 2, and so on:
                all algorithms see the same instances. None: each job makes its own.
            cache: Keep instances, so that each is made once; only with a seed.

        Raises:
            DefinitionError: The name, the seed or the function is none. Nothing was changed.
            CannotPickle: Function or data cannot be sent.

        Example:
            >>> reg.add_problem("noise", fun=lambda job, n: job.rng.normal(size=n), seed=1)
        """
        self._check_experiments()
        _check_part(name, "a problem")
        _check_problem(data, fun, seed, cache=cache)
        takes = Taking.of(fun, PROBLEM_OWN)
        function = None if fun is None else pickle_function(fun)
        self._check_writeable()
        with self._storing():
            stored = StoredProblem(
                name=name,
                data=None if data is None else store_data(self.objects, data),
                function=None if function is None else self.objects.put(function),
                seed=None if seed is None else int(seed),
                cache=bool(cache and seed is not None),
            )
            with self._changing() as tx:
                old = read_problems(tx).get(name)
                put_problem(tx, stored, takes.to_bytes())
                self._remember_code(tx)
        discard(self.paths.instances(name))
        if old is not None and made_of(old[0]) != made_of(stored):
            self._told(f"problem {name!r}", self._stale_of(name, 0))

    def add_algorithm(self, name: str, fun: Any = None) -> None:
        """Define an algorithm, or define it anew: a function that is applied to instances.

        It gets `job`, `data` and `instance` where it names them, and the parameters of a design by
        name; what it returns is the job's result.

        Args:
            name: Of letters, digits, `_`, `.` and `-`.
            fun: The function; None: the instance is the result.

        Raises:
            DefinitionError: The name or the function is none. Nothing was changed.
            CannotPickle: The function cannot be sent.

        Example:
            >>> reg.add_algorithm("mean", lambda instance: instance.mean())
        """
        self._check_experiments()
        _check_part(name, "an algorithm")
        takes = Taking.of(fun, ALGORITHM_OWN)
        function = None if fun is None else pickle_function(fun)
        self._check_writeable()
        with self._storing():
            stored = StoredAlgorithm(name, None if function is None else self.objects.put(function))
            with self._changing() as tx:
                old = read_algorithms(tx).get(name)
                put_algorithm(tx, stored, takes.to_bytes())
                self._remember_code(tx)
        if old is not None and old[0] != stored:
            self._told(f"algorithm {name!r}", self._stale_of(name, 1))

    def _definition(self, ids: Ids | None = None) -> Definition:
        """Return what jobs call: of experiments only the problems and algorithms they use."""
        if self.kind != KIND:
            return super()._definition(ids)
        with self._db.read() as tx:
            problems, algorithms = read_problems(tx), read_algorithms(tx)
            used = (set(problems), set(algorithms)) if ids is None else names_in_use(tx, ids)
        return Definition(
            names=NAMES,
            problems=tuple(stored for name, (stored, _) in problems.items() if name in used[0]),
            algorithms=tuple(stored for name, (stored, _) in algorithms.items() if name in used[1]),
        )

    def _remember_code(self, tx: Transaction) -> None:
        """Keep the code of all problems and algorithms: later sessions may not have it loaded."""
        definition = Definition(
            names=NAMES,
            problems=tuple(stored for stored, _ in read_problems(tx).values()),
            algorithms=tuple(stored for stored, _ in read_algorithms(tx).values()),
        )
        tx.set_meta("epoch", self._epoch_of(definition, tx.meta("epoch")))

    def _stale_of(self, name: str, which: int) -> JobIds:
        """Return the stale jobs of a problem (0) or an algorithm (1)."""
        stale = self.find_stale()
        with self._db.read() as tx:
            mine = [row[0] for row in tx.all("definition_names") if row[1 + which] == name]
            of = Experiments(tx).definition[np.asarray(stale) - 1]
        return JobIds.trusted(np.asarray(stale)[np.isin(of, mine)])

    def _check_experiments(self) -> None:
        if self.kind != KIND:
            raise DefinitionError(
                f"{self.paths.root} is a registry of a map, not of experiments",
                remedy="make one with bp.make_experiment_registry(...)",
            )


def _check_part(name: object, what: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (".", ".."):
        raise DefinitionError(
            f"{name!r:.60} is no name of {what}",
            remedy="a name is made of letters, digits, '_', '.' and '-'",
        )


def _check_problem(data: Any, fun: Any, seed: Any, *, cache: bool) -> None:
    if fun is None and isfunction(data):
        raise DefinitionError(
            f"the function {data.__name__}() was given as data",
            remedy="give it by name: add_problem(name, fun=...)",
        )
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 1
    if seed is not None and not whole:
        raise DefinitionError(
            f"seed={seed!r} is no positive whole number", remedy="give one, or None"
        )
    if cache and seed is None:
        warn("cache=True is ignored without a seed: each job makes an instance of its own")
