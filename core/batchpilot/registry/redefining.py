"""Change what jobs call after they were defined, and find those computed with what was before.

Nothing is thrown away: a job keeps its result, made by the code it was submitted with, until it is
submitted again.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from batchpilot.epochs import Definition, store_epoch
from batchpilot.errors import DefinitionError
from batchpilot.experiments.staleness import Judge
from batchpilot.functions import JOB, pickle_function, pickle_value
from batchpilot.ids import JobIds
from batchpilot.notices import warn
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import KIND, Experiments, read_algorithms, read_problems
from batchpilot.store.pages import Ids
from batchpilot_agent.callables import RESULT

from .defining import shape_of
from .selecting import SUBMITTED, Selecting
from .submitting import Submitting


_KEPT: Any = object()

Bools = NDArray[np.bool_]


class Redefining(Submitting, Selecting):
    """Redefine functions, and find the jobs that ran with others."""

    def redefine(self, fun: Any, more_args: Mapping[str, Any] | None = _KEPT) -> JobIds:
        """Give the jobs of a map another function; it is called from their next submission on.

        Args:
            fun: Takes the same parameters.
            more_args: Values that are the same for all jobs; by default they stay as they are.

        Returns:
            The jobs that were computed with another one: those of `find_stale()`.

        Raises:
            DefinitionError: There are no jobs, they are experiments, or fun cannot take their
                parameters. Nothing was changed.
            CannotPickle: Something cannot be sent.

        Example:
            >>> reg.submit_jobs(reg.redefine(better))
        """
        old = self._redefinable()
        shown = old.names
        kept = old.more_args if more_args is _KEPT else None
        given = self._static(old) if more_args is _KEPT else more_args
        shape = shape_of(fun, shown, given)
        function = pickle_function(fun)
        static = pickle_value(dict(given), "more_args") if given else None
        self._check_writeable()
        with self._storing():
            new = replace(
                old,
                function=self.objects.put(function),
                positional=tuple(name for name in shape.positional if name in shown),
                passes_job=shape.passes_job and JOB not in (*shown, *(given or ())),
                more_args=kept or (None if static is None else self.objects.put(static)),
            )
            with self._changing() as tx:
                tx.set_meta("definition", msgpack.packb(new.to_wire()))
                tx.set_meta("epoch", self._epoch_of(new, tx.meta("epoch")))
        return self._told("function", self.find_stale())

    def find_stale(self, ids: Any = None) -> JobIds:
        """Find jobs whose function, problem or algorithm has changed since they were submitted.

        That is: another function or other `more_args` than would be submitted now, other data or
        another seed of a problem. A function that is imported (of a module that is no script) has
        changed where the file of its module has. Modules it uses in turn are not compared.

        Args:
            ids: Jobs to look at, by default all that were submitted: ended ones, and those that
                are queued or run.

        Example:
            >>> reg.submit_jobs(reg.find_stale() - reg.find_on_system())
        """
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids, SUBMITTED)
            submissions = tx.pages.take("submission", chosen)
            epochs = {
                number: tx.execute("submission_facts", number).fetchone()[1]
                for number in np.unique(submissions[submissions > 0]).tolist()
            }
            stale = self._stale(tx, chosen, submissions, epochs)
        return JobIds.trusted(chosen[stale])

    def _stale(
        self, tx: Transaction, ids: Ids, submissions: NDArray[Any], epochs: Mapping[int, str]
    ) -> Bools:
        """Tell for jobs whether their code has changed; each epoch is looked at once."""
        judge = _Experiments(tx, self) if self.kind == KIND else _Map(tx, self)
        stale = np.zeros(len(ids), bool)
        for epoch in dict.fromkeys(epochs.values()):
            numbers = [number for number, found in epochs.items() if found == epoch]
            mine = np.flatnonzero(np.isin(submissions, numbers))
            stale[mine] = judge.stale(epoch, ids[mine])
        return stale

    def _redefinable(self) -> Definition:
        if self.kind == KIND:
            raise DefinitionError(
                "experiments have no function of their own",
                remedy="define problem or algorithm anew: add_problem(...), add_algorithm(...)",
            )
        definition = self._definition()
        if RESULT in definition.names:
            raise DefinitionError(
                "jobs over the results of another registry keep their function",
                remedy="define them anew in another registry with batch_map_results(...)",
            )
        return definition

    def _static(self, definition: Definition) -> Mapping[str, Any]:
        """Return the static arguments that jobs have by name."""
        if definition.more_args is None:
            return {}
        static = pickle.loads(self.objects.get(definition.more_args))  # noqa: S301 - the user's own
        named: Mapping[str, Any] = static if isinstance(static, dict) else static[1]
        return named

    def _epoch_of(self, definition: Definition, first: str | None) -> str:
        """Store the code of a definition as it is now: later sessions may not have it loaded."""
        return store_epoch(
            self.objects,
            definition,
            work_dir=self.work_dir,
            first=first,
            dependencies=self._dependencies(),
        )

    def _told(self, what: str, stale: JobIds) -> JobIds:
        if stale:
            warn(
                f"{len(stale)} job(s) computed with the old {what} are now stale;"
                " find_stale() finds them"
            )
        return stale


class _Map:
    """Tell which jobs of a map are stale."""

    def __init__(self, tx: Transaction, registry: Redefining) -> None:
        self._now = Definition.from_wire(msgpack.unpackb(tx.meta("definition")))
        self._judge = Judge(registry.objects)

    def stale(self, epoch: str, _: Ids) -> Bools | bool:
        """Tell whether the jobs of an epoch are."""
        then = self._judge.manifest(epoch)
        return self._judge.has_changed(then, self._now.function, self._now.more_args)


class _Experiments:
    """Tell which experiments are stale."""

    def __init__(self, tx: Transaction, registry: Redefining) -> None:
        self._problems = {name: stored for name, (stored, _) in read_problems(tx).items()}
        self._algorithms = {name: stored for name, (stored, _) in read_algorithms(tx).items()}
        self._definition = Experiments(tx).definition
        self._names = tx.all("definition_names")
        self._judge = Judge(registry.objects)

    def stale(self, epoch: str, ids: Ids) -> Bools | bool:
        """Tell which of the jobs of an epoch are."""
        then = self._judge.manifest(epoch)
        problems, algorithms = self._judge.stale_names(then, self._problems, self._algorithms)
        if not problems and not algorithms:
            return False
        stale = [
            number
            for number, problem, algorithm in self._names
            if problem in problems or algorithm in algorithms
        ]
        found: Bools = np.isin(self._definition[ids - 1], stale)
        return found
