"""Remove experiments, problems and algorithms: exactly those named, and what only they needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from batchpilot.errors import DefinitionError, SubmissionError
from batchpilot.ids import JobIds, coerce_ids
from batchpilot.store.changing import revoke
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import (
    Experiments,
    drop_unused_definitions,
    read_algorithms,
    read_problems,
    write_experiments,
)
from batchpilot.store.pages import LIVE_STATES, Ids, State, read_column
from batchpilot.store.params import clear_pars
from batchpilot.store.tidying import discard, remove_external
from batchpilot.store.tombstones import entomb

from .experiments import Experimenting


class RemovingExperiments(Experimenting):
    """Remove experiments."""

    def remove_experiments(self, ids: Any) -> JobIds:
        """Remove experiments with their results; their ids are never used again.

        Problems and algorithms stay. Objects that nothing needs any more go with the next
        `sweep()`.

        Args:
            ids: Jobs; none of them may be on the system.

        Returns:
            The jobs removed.

        Raises:
            SubmissionError: Some are queued or running. Nothing was removed.

        Example:
            >>> reg.remove_experiments(reg.find_experiments(algo_name="slow"))
        """
        self._check_experiments()
        with self._changing() as tx:
            states = read_column(tx.db, "state")
            gone = coerce_ids(ids, states=states, default=np.empty(0, np.int64))
            _forget(tx, gone, states[gone - 1])
        self._tidy_up(gone)
        return JobIds.trusted(gone)

    def remove_problems(self, names: str | Iterable[str]) -> JobIds:
        """Remove problems, with all their experiments.

        Returns:
            The experiments removed.

        Raises:
            DefinitionError: There is no such problem.
            SubmissionError: Experiments of theirs are queued or running. Nothing was removed.
        """
        return self._remove_parts(names, "problem", read_problems)

    def remove_algorithms(self, names: str | Iterable[str]) -> JobIds:
        """Remove algorithms, with all their experiments.

        Returns:
            The experiments removed.

        Raises:
            DefinitionError: There is no such algorithm.
            SubmissionError: Experiments of theirs are queued or running. Nothing was removed.
        """
        return self._remove_parts(names, "algorithm", read_algorithms)

    def _remove_parts(
        self,
        names: str | Iterable[str],
        what: str,
        read: Callable[[Transaction], Collection[str]],
    ) -> JobIds:
        self._check_experiments()
        given = [names] if isinstance(names, str) else list(names)
        self._check_writeable()
        with self._storing(), self._changing() as tx:
            known = list(read(tx))
            unknown = [name for name in given if name not in known]
            if unknown:
                raise DefinitionError(
                    f"there is no {what} {', '.join(map(repr, unknown))}",
                    remedy=f"the {what}s are {', '.join(known) or '(none)'}",
                )
            gone = _jobs_of(tx, given, what)
            _forget(tx, gone, tx.pages.take("state", gone))
            for name in given:
                tx.execute(f"drop_{what}", name)
            self._remember_code(tx)
        for name in given if what == "problem" else ():
            discard(self.paths.instances(name))
        self._tidy_up(gone)
        return JobIds.trusted(gone)

    def _tidy_up(self, gone: Ids) -> None:
        entomb(self._db)
        remove_external(self.paths, gone.tolist())
        if len(gone):
            self._db.try_to_back_up()  # so that no repair brings them back


def _jobs_of(tx: Transaction, names: Collection[str], what: str) -> Ids:
    at = ("problem", "algorithm").index(what) + 1
    numbers = [row[0] for row in tx.all("definition_names") if row[at] in names]
    return np.flatnonzero(np.isin(Experiments(tx).definition, numbers)) + 1


def _forget(tx: Transaction, gone: Ids, states: np.ndarray[Any, Any]) -> None:
    """Take jobs out of the database, as if their ids had never been given."""
    busy = gone[np.isin(states, LIVE_STATES)]
    if len(busy):
        raise SubmissionError(
            f"{len(busy)} of the jobs are on the system, e.g. {busy[0]}",
            remedy="kill them first with kill_jobs(...)",
        )
    if not len(gone):
        return
    revoke(tx, gone)
    tx.pages.put("state", gone, State.ABSENT)
    clear_pars(tx, gone)
    write_experiments(tx, gone, 0, 0)
    drop_unused_definitions(tx)
    for job in gone.tolist():
        tx.execute("drop_tags", job)
        tx.execute("drop_name", job)
