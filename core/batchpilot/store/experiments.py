"""Experiments in the database: problems, algorithms, definitions, and which job is which.

A definition is a problem and an algorithm with their parameters; a job is a definition and a
replication, two numbers in the arrays of its page. Both numbers are found for a million jobs in
milliseconds, and what holds for a definition is worked out once for all its replications.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchpilot_agent.manifest import StoredAlgorithm, StoredData, StoredProblem

from .database import Transaction
from .pages import PAGE, Ids
from .statements import sql


KIND = "experiment"
"""What the registry's description calls its kind."""

NAMES = ("problem", "prob_pars", "algorithm", "algo_pars")
"""What a job's parameters are called."""

_U4 = np.dtype("<u4")


def read_problems(tx: Transaction) -> dict[str, tuple[StoredProblem, bytes]]:
    """Return the problems by name, in the order of definition, each with what it takes."""
    return {
        name: (StoredProblem(name, function, _data(data), seed, bool(cache)), takes)
        for name, function, data, seed, cache, takes in tx.all("all_problems")
    }


def read_algorithms(tx: Transaction) -> dict[str, tuple[StoredAlgorithm, bytes]]:
    """Return the algorithms by name, in the order of definition, each with what it takes."""
    return {
        name: (StoredAlgorithm(name, function), takes)
        for name, function, takes in tx.all("all_algorithms")
    }


def put_problem(tx: Transaction, stored: StoredProblem, takes: bytes) -> None:
    """Define a problem, or define it anew in its old place."""
    data = None if stored.data is None else json.dumps(stored.data)
    tx.execute(
        "put_problem", stored.name, stored.function, data, stored.seed, int(stored.cache), takes
    )


def put_algorithm(tx: Transaction, stored: StoredAlgorithm, takes: bytes) -> None:
    """Define an algorithm, or define it anew in its old place."""
    tx.execute("put_algorithm", stored.name, stored.function, takes)


class Experiments:
    """Hold which experiments all jobs ever defined are; element i belongs to job i + 1.

    Args:
        tx: A view of the registry's database.

    Attributes:
        definition: Numbers of the definitions, 0 where a job is gone.
        repl: Replications.
    """

    def __init__(self, tx: Transaction) -> None:
        size = int(tx.meta("last_job"))
        pages = -(-size // PAGE)
        self.definition = np.zeros(pages * PAGE, _U4)
        self.repl = np.zeros(pages * PAGE, _U4)
        for k, definition, repl in tx.all("all_experiments"):
            where = slice(k * PAGE, (k + 1) * PAGE)
            self.definition[where] = np.frombuffer(definition, _U4)
            self.repl[where] = np.frombuffer(repl, _U4)
        self.definition, self.repl = self.definition[:size], self.repl[:size]

    def pairs(self) -> NDArray[np.int64]:
        """Return definition and replication of each job as one number."""
        return as_pairs(self.definition, self.repl)


def as_pairs(definition: NDArray[Any], repl: NDArray[Any]) -> NDArray[np.int64]:
    """Return definitions and replications as one number each, in the order of jobs."""
    return (definition.astype(np.int64) << 32) | repl.astype(np.int64)


def write_experiments(
    tx: Transaction, ids: Ids, definition: NDArray[Any] | int, repl: NDArray[Any] | int
) -> None:
    """Note which experiments jobs are."""
    keys = (ids - 1) // PAGE
    for k in np.unique(keys).tolist():
        mine = keys == k
        row = tx.execute("read_experiments", k).fetchone()
        arrays = [np.frombuffer(blob, _U4).copy() for blob in row or (bytes(4 * PAGE),) * 2]
        for array, values in zip(arrays, (definition, repl), strict=True):
            array[ids[mine] - 1 - k * PAGE] = values if isinstance(values, int) else values[mine]
        tx.execute("write_experiments", k, *(array.tobytes() for array in arrays))


class Known(NamedTuple):
    """Hold what is stored of a definition: its number and its pickled parameters."""

    number: int
    pars: bytes


class NewDefinition(NamedTuple):
    """Hold a definition that is to be stored."""

    problem: str
    algorithm: str
    key: bytes
    prob_key: bytes
    algo_key: bytes
    pars: bytes


def add_definitions(tx: Transaction, new: Sequence[NewDefinition]) -> range:
    """Store definitions and return their numbers, in their order."""
    row = tx.execute("last_definition").fetchone()
    first = (row[0] if row else 0) + 1
    numbers = range(first, first + len(new))
    rows = ((*one, number) for one, number in zip(new, numbers, strict=True))
    tx.db.executemany(sql("add_definition"), rows)
    return numbers


def find_definitions(tx: Transaction, keys: Sequence[bytes]) -> list[Known | None]:
    """Return the definition of each key, None where there is none."""
    if definitions_version(tx)[0] == 0:
        return [None] * len(keys)
    statement, cursor = sql("find_definition"), tx.db.cursor()
    found = (cursor.execute(statement, (key,)).fetchone() for key in keys)
    return [None if row is None else Known(*row) for row in found]


def definitions_version(tx: Transaction) -> tuple[int, int]:
    """Return what changes whenever a definition is added or removed."""
    count, last = tx.execute("definitions_version").fetchone()
    return count, last


def drop_unused_definitions(tx: Transaction) -> None:
    """Forget the definitions that no job is of."""
    used = set(np.unique(Experiments(tx).definition).tolist())
    unused = [(number,) for number, _, _ in tx.all("definition_names") if number not in used]
    tx.db.executemany(sql("drop_definition"), unused)


def names_of_job(tx: Transaction, job: int) -> tuple[str, str]:
    """Return the names of the problem and the algorithm of a job."""
    number = int(Experiments(tx).definition[job - 1])
    problem, algorithm = tx.execute("definition_of", number).fetchone()
    return problem, algorithm


def names_in_use(tx: Transaction, ids: Ids) -> tuple[set[str], set[str]]:
    """Return the names of the problems and of the algorithms of jobs."""
    used = set(np.unique(Experiments(tx).definition[ids - 1]).tolist())
    rows = [row for row in tx.all("definition_names") if row[0] in used]
    return {problem for _, problem, _ in rows}, {algorithm for _, _, algorithm in rows}


def _data(text: str | None) -> StoredData | None:
    return None if text is None else StoredData.from_wire(json.loads(text))
