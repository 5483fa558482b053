"""Define experiments: which problems and algorithms are run with what parameters, how often."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from batchpilot.errors import DefinitionError
from batchpilot.experiments.crossing import Wanted, cross, read_repls
from batchpilot.experiments.designs import Design, read_designs
from batchpilot.experiments.taking import Taking
from batchpilot.ids import JobIds
from batchpilot.notices import warn
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import (
    Experiments,
    Known,
    NewDefinition,
    add_definitions,
    as_pairs,
    definitions_version,
    find_definitions,
    read_algorithms,
    read_problems,
    write_experiments,
)
from batchpilot.store.pages import Ids
from batchpilot.store.params import ParsEncoder

from .defining import add_jobs
from .experiments_parts import DefiningParts


_WORTH_A_COPY = 10


class Experimenting(DefiningParts):
    """Define experiments."""

    def add_experiments(
        self,
        prob_designs: Any = None,
        algo_designs: Any = None,
        repls: Any = 1,
        combine: str = "crossprod",
    ) -> JobIds:
        """Define a job for each problem with each algorithm, parameters and replications crossed.

        A definition (problem, algorithm, their parameters) that is there already gets only the
        replications it lacks; so an experiment is extended at any time by asking for more.

        Args:
            prob_designs: For each problem by name the parameters to run it with: a DataFrame,
                `bp.grid(...)`, a list of dicts, a dict of equally long lists; None or an empty one
                for once without parameters. By default all problems, without parameters.
            algo_designs: The same for algorithms.
            repls: How often each; or one number for each problem design, recycled.
            combine: "crossprod": each row of a problem with each of an algorithm. "bind": the
                rows side by side, the shorter design recycled.

        Returns:
            The ids of the new jobs only, sorted by definition, then replication.

        Raises:
            DefinitionError: A name is unknown, a design is no table, or a function cannot take its
                parameters. Nothing was written.

        Example:
            >>> reg.add_experiments({"noise": bp.grid(n=[10, 100])}, {"mean": None}, repls=5)
            JobIds(1-10)  # 10 jobs
        """
        self._check_experiments()
        with self._db.read() as tx:
            problems, algorithms = read_problems(tx), read_algorithms(tx)
        prob = read_designs(prob_designs, list(problems), "problem")
        algo = read_designs(algo_designs, list(algorithms), "algorithm")
        for designs, parts in ((prob, problems), (algo, algorithms)):
            _check_designs(designs, {name: takes for name, (_, takes) in parts.items()})
        wanted, asked = cross(prob, algo, read_repls(repls, len(prob)), combine)
        self._check_writeable()
        with self._storing():
            ids = self._define_experiments(wanted)
        if len(ids) < asked:
            warn(f"Skipping {asked - len(ids)} duplicated experiment(s)")
        if len(ids) * _WORTH_A_COPY >= max(ids[-1:], default=1):
            self._db.back_up(
                time.time_ns()
            )  # after few among many it would cost more than it saves
        return ids

    def _define_experiments(self, wanted: Sequence[Wanted]) -> JobIds:
        encoder = ParsEncoder(self.objects)
        keys = [one.key for one in wanted]
        with self._db.read() as tx:
            version, known = definitions_version(tx), find_definitions(tx, keys)
        new = _Pickled(encoder, wanted, known)
        with self._changing() as tx:
            _check_still_there(tx, wanted)
            if definitions_version(tx) != version:  # another session has been here meanwhile
                known = find_definitions(tx, keys)
                new = _Pickled(encoder, wanted, known)
            numbers = add_definitions(tx, new.definitions())
            if encoder.has_large:
                tx.set_meta("big_pars", 1)
            return _add_missing(tx, wanted, new.among(known, numbers))


class _Pickled:
    """Hold the definitions that are new among those wanted, their parameters pickled.

    Args:
        encoder: Pickles parameters.
        wanted: All that are wanted.
        known: What is stored of each, None where nothing is.
    """

    def __init__(
        self, encoder: ParsEncoder, wanted: Sequence[Wanted], known: Sequence[Known | None]
    ) -> None:
        self._wanted = [one for one, found in zip(wanted, known, strict=True) if found is None]
        columns = [[one.pars[which] for one in self._wanted] for which in (0, 1)]
        self._pars = encoder.encode(columns)

    def definitions(self) -> list[NewDefinition]:
        """Return the new ones as they are stored."""
        return [
            NewDefinition(*one[:5], pars)
            for one, pars in zip(self._wanted, self._pars, strict=True)
        ]

    def among(self, known: Sequence[Known | None], numbers: Sequence[int]) -> list[Known]:
        """Return all that are wanted, the new ones with the numbers they were given."""
        new = map(Known, numbers, self._pars)
        return [next(new) if found is None else found for found in known]


class _Pairs(NamedTuple):
    """Hold pairs of definition and replication, sorted; `at` is the definition's place."""

    at: Ids
    definition: Ids
    repl: Ids


def _add_missing(tx: Transaction, wanted: Sequence[Wanted], known: Sequence[Known]) -> JobIds:
    """Add a job for each pair of definition and replication that has none."""
    pairs = _missing_pairs(tx, wanted, known)
    rows = [
        pickle.dumps((*wanted[at][:2], repl, known[at].pars), 5)
        for at, repl in zip(pairs.at.tolist(), pairs.repl.tolist(), strict=True)
    ]
    ids = add_jobs(tx, rows)
    write_experiments(tx, ids, pairs.definition, pairs.repl)
    return JobIds.trusted(ids)


def _missing_pairs(tx: Transaction, wanted: Sequence[Wanted], known: Sequence[Known]) -> _Pairs:
    times = np.array([one.repls for one in wanted], np.int64)
    numbers = np.array([one.number for one in known], np.int64)
    at = np.repeat(np.arange(len(wanted)), times)
    repl = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times) + 1
    asked = as_pairs(numbers[at], repl)
    new = np.flatnonzero(~np.isin(asked, Experiments(tx).pairs()))
    order = new[np.argsort(asked[new], kind="stable")]
    return _Pairs(at[order], numbers[at[order]], repl[order])


def _check_still_there(tx: Transaction, wanted: Sequence[Wanted]) -> None:
    """Refuse where another session has removed a problem or algorithm meanwhile."""
    gone = {one.problem for one in wanted} - read_problems(tx).keys()
    gone |= {one.algorithm for one in wanted} - read_algorithms(tx).keys()
    if gone:
        raise DefinitionError(
            f"another session has removed {', '.join(sorted(gone))} meanwhile",
            remedy="define it again, then add the experiments",
        )


def _check_designs(designs: Sequence[Design], takes: dict[str, bytes]) -> None:
    for design in designs:
        Taking.from_bytes(takes[design.name]).check(design)
