"""Collect results: one, folded, as a list, as a table, or one after the other in constant memory.

Results come from the segments, no server is needed. A result whose classes cannot be imported in
this process is an error of that result alone.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from batchpilot.columns import column, objects
from batchpilot.errors import (
    DefinitionError,
    JobFailed,
    JobNotDone,
    RegistryDamaged,
    ResultUnreadable,
)
from batchpilot.store.database import Transaction
from batchpilot.store.outcomes import Located, find_records
from batchpilot.store.pages import Ids, State
from batchpilot.store.records import Records
from batchpilot.unwrapping import is_wrapped
from batchpilot.unwrapping import unwrap as unwrapped

from .failures import Failures
from .nouns import make_job
from .selecting import WORDS
from .tables import Tabulating


if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 16_384
_BLOCK_BYTES = 64 << 20
_REQUIRED: Any = object()


class Collecting(Tabulating):
    """Collect results."""

    def load_result(self, id: Any) -> Any:  # noqa: A002 - the name that users know
        """Return the result of one job.

        Raises:
            JobsNotFound: There is no such job.
            JobFailed: Its function raised; the message holds the exception.
            JobNotDone: It has not ended, or expired.
            ResultUnreadable: The result's class cannot be imported here.

        Example:
            >>> reg.load_result(1)
        """
        with self._db.read() as tx:
            job = self._one(tx, id)
            lacking = self._lacking(tx, np.array([job]))
        self._refuse(lacking)
        return next(self._results(np.array([job])))[1]

    def iter_results(self, ids: Any = None) -> Iterator[tuple[int, Any]]:
        """Yield (job id, result) one after the other, never holding many of them.

        Args:
            ids: Jobs in the order wanted, by default all that are done.

        Raises:
            JobNotDone: Some have no result; nothing was yielded.
            JobFailed: Some ended in an error; nothing was yielded.
            ResultUnreadable: A result's class cannot be imported here.

        Example:
            >>> best = max(reg.iter_results(), key=lambda pair: pair[1])
        """
        return self._results(self._done_ids(ids))

    def reduce_results(
        self, fun: Callable[..., Any], ids: Any = None, init: Any = None, **more_args: Any
    ) -> Any:
        """Fold results from the left: `fun(fun(init, first), second)` and so on.

        Args:
            fun: Called with what was folded so far and a result; a parameter called `job`
                receives the Job.
            ids: Jobs in the order wanted, by default all that are done.
            init: What to begin with; None begins with the first result.
            **more_args: Passed to `fun` by name.

        Returns:
            The last value of `fun`; init where there are no jobs.

        Raises:
            JobNotDone: Some have no result.
            JobFailed: Some ended in an error.

        Example:
            >>> reg.reduce_results(lambda total, result: total + result)
        """
        results = self.iter_results(ids)
        if init is None:
            first = next(results, None)
            if first is None:
                return None
            init = first[1]
        call = self._caller(fun, more_args)
        return reduce(lambda so_far, pair: call(pair[0], so_far, pair[1]), results, init)

    def reduce_results_list(
        self,
        ids: Any = None,
        fun: Callable[..., Any] | None = None,
        missing_val: Any = _REQUIRED,
        **more_args: Any,
    ) -> list[Any]:
        """Return results as a list in the order of the ids.

        Args:
            ids: Jobs, by default all that are done.
            fun: Applied to each result; a parameter called `job` receives the Job.
            missing_val: Stands for jobs that have no result, which are an error otherwise.
            **more_args: Passed to `fun` by name.

        Example:
            >>> reg.reduce_results_list(fun=lambda result: result["accuracy"])
        """
        return self._listed(ids, fun, missing_val, more_args)[1]

    def reduce_results_frame(
        self,
        ids: Any = None,
        fun: Callable[..., Any] | None = None,
        missing_val: Any = _REQUIRED,
        **more_args: Any,
    ) -> pd.DataFrame:
        """Return `job_id result`, sorted by `job_id`; arguments as `reduce_results_list`."""
        import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

        chosen, results = self._listed(ids, fun, missing_val, more_args, keep_order=False)
        return pd.DataFrame({"job_id": chosen, "result": column(results)})

    def results_frame(self, ids: Any = None, unwrap: bool = True) -> pd.DataFrame:
        """Return parameters and results in one tidy table, a row a job.

        Of experiments it is `job_id problem algorithm repl`, then the parameters, then results. A
        parameter that problem and algorithm both have is called `prob_pars.<name>` and
        `algo_pars.<name>`.

        Args:
            ids: Jobs, by default all that are done.
            unwrap: Give each parameter, and each element of results that are dicts or lists, its
                own column.

        Raises:
            DefinitionError: An element of the results has the name of a parameter.

        Example:
            >>> reg.results_frame().groupby("learner")["accuracy"].mean()
        """
        results = self.reduce_results_frame(ids)
        table = self._tidy(results["job_id"], unwrap=unwrap)
        if "result" in table:
            raise DefinitionError(
                "a parameter is called 'result'", remedy="use results_frame(unwrap=False)"
            )
        table["result"] = results["result"]
        return unwrapped(table, "result") if unwrap and is_wrapped(table["result"]) else table

    def _listed(
        self,
        ids: Any,
        fun: Callable[..., Any] | None,
        missing_val: Any,
        more_args: dict[str, Any],
        *,
        keep_order: bool = True,
    ) -> tuple[Ids, list[Any]]:
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids, (State.DONE,), keep_order=keep_order)
            done = self._states_of(tx, chosen) == State.DONE
            lacking = self._lacking(tx, chosen) if missing_val is _REQUIRED else None
        self._refuse(lacking)
        call = None if fun is None else self._caller(fun, more_args)
        values = [
            result if call is None else call(job, result)
            for job, result in self._results(chosen[done])
        ]
        if done.all():
            return chosen, values
        left = iter(values)
        return chosen, [next(left) if there else missing_val for there in done.tolist()]

    def _done_ids(self, ids: Any) -> Ids:
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids, (State.DONE,), keep_order=True)
            lacking = self._lacking(tx, chosen)
        self._refuse(lacking)
        return chosen

    def _lacking(self, tx: Transaction, ids: Ids) -> _Lacking | None:
        """Return which of the jobs have no result."""
        states = self._states_of(tx, ids)
        lacking = np.flatnonzero(states != State.DONE)
        if not len(lacking):
            return None
        state = State(int(states[lacking[0]]))
        return _Lacking(state, find_records(tx, ids[lacking[:1]]), len(lacking) - 1)

    def _refuse(self, lacking: _Lacking | None) -> None:
        """Refuse jobs that have no result, saying what has become of the first."""
        if lacking is None:
            return
        job, state = int(lacking.first.ids[0]), lacking.state
        more = f" (and {lacking.others} more have no result)" if lacking.others else ""
        if state not in (State.ERROR, State.EXPIRED):
            raise JobNotDone(
                f"job {job} is {WORDS[state]}{more}",
                remedy="wait with wait_for_jobs(), or name jobs of find_done()",
            )
        with Failures(self.paths, self._db) as failures:
            failure = next(failures.of(lacking.first))
        kind = JobFailed if state is State.ERROR else JobNotDone
        raise kind(
            f"job {job} {'failed' if kind is JobFailed else 'expired'}{more}: {failure.summary}",
            remedy=f"see reg.get_log({job}), or run it here with reg.test_job({job})",
            job=job,
        )

    def pickled_results(self, ids: Any = None) -> Iterator[tuple[int, bytes]]:
        """Yield (job id, pickled result), as `iter_results` does, without unpickling anything."""
        return self._bodies(self._done_ids(ids))

    def _results(self, ids: Ids) -> Iterator[tuple[int, Any]]:
        for job, body in self._bodies(ids):
            yield job, _loaded(job, body)

    def _bodies(self, ids: Ids) -> Iterator[tuple[int, bytes]]:
        with Records(self.paths, self._db) as records:
            for start in range(0, len(ids), _BLOCK):
                with self._db.read() as tx:
                    located = find_records(tx, ids[start : start + _BLOCK])
                    lacking = self._lacking(tx, located.ids)
                self._refuse(lacking)
                for part, bodies in _read(records, located):
                    yield from zip(part.tolist(), bodies, strict=True)

    def _caller(self, fun: Callable[..., Any], more_args: dict[str, Any]) -> Callable[..., Any]:
        """Return what calls fun for a job with values, passing the Job where fun names it."""
        if "job" not in _parameters(fun):
            return lambda _, *values: fun(*values, **more_args)
        return lambda job, *values: fun(*values, job=self._job_of(job), **more_args)

    def _job_of(self, job: int) -> Any:
        with self._db.read() as tx:
            return make_job(tx, self, job)[0]


@dataclass(frozen=True, slots=True)
class _Lacking:
    """Hold the first job without a result: what became of it, where its end is, how many more."""

    state: State
    first: Located
    others: int


def _read(records: Records, located: Located) -> Iterator[tuple[Ids, list[bytes]]]:
    """Yield the bodies of jobs in their order, in parts of bounded size read front to back."""
    ids, ends, names = located.ids, located.ends, located.names
    if not names.keys() >= set(np.unique(ends["segment"]).tolist()):
        raise RegistryDamaged(
            "the database does not say where some results are", remedy="run `batchpilot repair`"
        )
    total = np.cumsum(ends["size"].astype(np.int64))
    cuts = np.flatnonzero(np.diff(total // _BLOCK_BYTES)) + 1
    for where in np.split(np.arange(len(ids)), cuts):
        bodies = np.empty(len(where), np.object_)
        part = ends[where]
        for segment in np.unique(part["segment"]).tolist():
            mine = np.flatnonzero(part["segment"] == segment)
            mine = mine[np.argsort(part["pos"][mine])]
            places = (part[name][mine].tolist() for name in ("job", "pos", "size"))
            bodies[mine] = objects(records.bodies(names[segment], *places))
        yield ids[where], bodies.tolist()


def _loaded(job: int, body: bytes | memoryview) -> Any:
    try:
        return pickle.loads(body)  # noqa: S301 - a result of the user's own job
    except ImportError as error:
        raise ResultUnreadable(
            f"the result of job {job} cannot be loaded here: {error}",
            remedy="make that module importable in this session (sys.path), then load it again",
            job=job,
        ) from error
    except (Exception, SystemExit) as error:  # a user's class may raise anything while unpickled
        raise ResultUnreadable(
            f"the result of job {job} cannot be loaded here: {type(error).__name__}: {error}",
            remedy="use the versions of the libraries that the job ran with",
            job=job,
        ) from error


def _parameters(fun: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(fun).parameters)
    except (TypeError, ValueError):
        return set()  # a builtin that does not tell has no parameter `job`
