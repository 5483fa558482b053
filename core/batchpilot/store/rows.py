"""Parameters of jobs as Python values: rows of tuples in the order of the registry's names."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from batchpilot.errors import ResultUnreadable
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.slot.values import ValueReader

from .database import Transaction
from .experiments import KIND
from .pages import PAGE, Ids


Row = tuple[Any, ...]


class ParameterRows:
    """Read parameters in one transaction.

    Args:
        tx: A view of the registry's database.
        objects: Where large values are.
        whole: Whether rows hold also what no table shows, behind the values of `names`; of
            experiments that is the replication.
    """

    def __init__(self, tx: Transaction, objects: ObjectStore, *, whole: bool = False) -> None:
        self._tx = tx
        names = json.loads(tx.meta("names") or "[]")
        hidden = tx.meta("hidden") or 0  # a registry whose jobs are calls with more than is shown
        self.names: tuple[str, ...] = tuple(names[: len(names) - hidden])
        load: Callable[[Any], Any] = ValueReader(objects).read
        load = load if tx.meta("big_pars") else pickle.loads
        if tx.meta("kind") == KIND:
            self._load = _of_experiments(load, whole=whole)
        else:
            self._load = _cut(load, len(self.names)) if hidden and not whole else load

    def blocks(self, ids: Ids) -> Iterator[tuple[Ids, list[Row]]]:
        """Yield sorted ids in blocks of at most a page, each with the rows of its jobs.

        Raises:
            ResultUnreadable: A value cannot be unpickled in this process.
        """
        keys = (ids - 1) // PAGE
        for block in np.split(ids, np.flatnonzero(np.diff(keys)) + 1):
            if len(block):
                yield block, self._rows(block)

    def rows(self, ids: Ids) -> list[Row]:
        """Return the rows of sorted ids."""
        return [row for _, rows in self.blocks(ids) for row in rows]

    def _rows(self, block: Ids) -> list[Row]:
        k = int(block[0] - 1) // PAGE
        blob, data = self._tx.execute("read_pars", k).fetchone()
        offsets = np.frombuffer(blob, "<u4")
        at = block - 1 - k * PAGE
        view, load = memoryview(data), self._load
        bounds = zip(offsets[at].tolist(), offsets[at + 1].tolist(), strict=True)
        rows: list[Row] = []
        try:
            for start, end in bounds:
                rows.append(load(view[start:end]))
        except Exception as error:  # a user's object may raise anything while it is unpickled
            raise ResultUnreadable(
                f"the parameters of job {block[len(rows)]} cannot be unpickled here: {error}",
                remedy="make the modules they come from importable in this session",
            ) from error
        return rows


def _cut(load: Callable[[Any], Any], size: int) -> Callable[[Any], Any]:
    return lambda data: load(data)[:size]


def _of_experiments(load: Callable[[Any], Any], *, whole: bool) -> Callable[[Any], Any]:
    def row(data: Any) -> Row:
        problem, algorithm, repl, pars = pickle.loads(data)  # noqa: S301 - the registry's own
        prob_pars, algo_pars = load(pars)
        shown = (problem, prob_pars, algorithm, algo_pars)
        return (*shown, repl) if whole else shown

    return row


def read_sets(
    tx: Transaction, objects: ObjectStore, which: int
) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Return the parameters of the problems (0) or the algorithms (1) of all definitions.

    Returns:
        The sets of parameters, each once; and for each definition its number and the place of its
        set among them.

    Raises:
        ResultUnreadable: A value cannot be unpickled in this process.
    """
    load: Callable[[Any], Any] = ValueReader(objects).read
    load = load if tx.meta("big_pars") else pickle.loads
    places: dict[bytes, int] = {}
    sets: list[dict[str, Any]] = []
    members: list[tuple[int, int]] = []
    for number, *keys, problem, algorithm, pars in tx.execute("definition_pars"):
        at = places.setdefault(keys[which], len(sets))
        members.append((number, at))
        if at < len(sets):
            continue
        try:
            sets.append(load(pars)[which])
        except Exception as error:  # a user's object may raise anything while it is unpickled
            raise ResultUnreadable(
                f"parameters of {problem!r} and {algorithm!r} cannot be unpickled here: {error}",
                remedy="make the modules they come from importable in this session",
            ) from error
    return sets, members
