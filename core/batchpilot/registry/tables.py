"""Tables of jobs: one row a job, sorted by `job_id`, the columns of batchtools with `_` for `.`.

Three columns are named after things that batchpilot does not have, and hold what is nearest:
`batch_id` is the agent that ran the job, `log_file` the log segment with its output, `job_hash`
the beginning of the hash of the code it was submitted with. Times are UTC; what has not happened
is missing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from batchpilot.columns import objects
from batchpilot.experiments.tidying import COLUMNS, spread
from batchpilot.store.database import Transaction
from batchpilot.store.experiments import KIND, Experiments
from batchpilot.store.outcomes import Ends, Located, find_records, locate, segment_names
from batchpilot.store.pages import Ids, State
from batchpilot.store.rows import ParameterRows
from batchpilot.unwrapping import unwrap as unwrapped

from .failures import Failures
from .labels import names_of, tags_of
from .selecting import ENDED_BY_FUNCTION, Selecting, States


if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, Any]
"""Columns by name; one that needs segments is a function, called when the transaction is over."""

_HASH_SHOWN = 12
_MICROSECONDS = 1e6


class Tabulating(Selecting):
    """Give tables of jobs."""

    def get_job_table(self, ids: Any = None) -> pd.DataFrame:
        """Return all that is known of jobs in one table.

        The columns are those of `get_job_status`, then of `get_job_pars`, `get_job_resources` and
        `get_job_tags`.

        Args:
            ids: Jobs, by default all.

        Example:
            >>> bp.unwrap(reg.get_job_table(), "job_pars")
        """
        return self._table(ids, self._status_columns, self._pars_columns, _resources, _tags)

    def get_job_status(self, ids: Any = None) -> pd.DataFrame:
        """Return what has become of jobs, and when.

        The columns are `job_id submitted started done error mem_used batch_id log_file job_hash
        job_name time_queued time_running`; of experiments `repl` stands after `job_name`.
        """
        return self._table(ids, self._status_columns)

    def get_job_pars(self, ids: Any = None) -> pd.DataFrame:
        """Return `job_id job_pars`, a dict of the parameters; `bp.unwrap` spreads them.

        Of experiments it is `job_id problem prob_pars algorithm algo_pars`, with two such dicts.
        """
        return self._table(ids, self._pars_columns)

    def get_job_resources(self, ids: Any = None) -> pd.DataFrame:
        """Return `job_id resources`, a dict as given to `submit_jobs`; None if not submitted."""
        return self._table(ids, _resources)

    def get_job_tags(self, ids: Any = None) -> pd.DataFrame:
        """Return `job_id tags`, sorted and joined by commas; None where there are none."""
        return self._table(ids, _tags)

    def get_error_messages(
        self, ids: Any = None, *, missing_as_error: bool = False
    ) -> pd.DataFrame:
        """Return `job_id terminated error message` of jobs.

        For an expired job `message` is the reason, while `error` stays False: its function did
        not raise.

        Args:
            ids: Jobs, by default those whose function raised.
            missing_as_error: Count jobs that have not ended as errors, "[not terminated]".

        Example:
            >>> reg.get_error_messages().groupby("message").size()
        """
        import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

        with self._db.read() as tx:
            chosen = self._chosen(tx, ids, (State.ERROR,))
            states = self._states_of(tx, chosen)
            failed = _failed(tx, chosen, states, (State.ERROR, State.EXPIRED))
        messages = self._messages(len(chosen), failed)
        terminated = np.isin(states, (State.DONE, State.ERROR, State.EXPIRED))
        error = states == State.ERROR
        if missing_as_error:
            messages[~terminated] = "[not terminated]"
            error |= ~terminated
        return pd.DataFrame(
            {
                "job_id": chosen,
                "terminated": terminated,
                "error": error,
                "message": pd.Series(messages, dtype=object),
            }
        )

    def _tidy(self, ids: Any, *, unwrap: bool) -> pd.DataFrame:
        """Return jobs with their parameters, each in a column of its own if they are to be."""
        if self.kind != KIND:
            table = self.get_job_pars(ids)
            return unwrapped(table) if unwrap else table
        table = self._table(ids, self._pars_columns, _repl)
        return spread(table) if unwrap else table[list(COLUMNS)]

    def _identities(self, ids: Any) -> pd.DataFrame:
        """Return `job_id problem algorithm repl` of experiments."""
        return self._table(ids, _names, _repl)

    def _table(self, ids: Any, *parts: Any) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

        with self._db.read() as tx:
            chosen = self._chosen(tx, ids)
            columns: Columns = {"job_id": chosen}
            for part in parts:
                columns |= part(tx, chosen)
        columns = {name: found() if callable(found) else found for name, found in columns.items()}
        return pd.DataFrame(
            {
                name: pd.Series(values, dtype=object) if values.dtype == object else values
                for name, values in columns.items()
            },
            copy=False,
        )

    def _status_columns(self, tx: Transaction, ids: Ids) -> Columns:
        states = self._states_of(tx, ids)
        facts = _Facts(tx, ids, states)
        failed = _failed(tx, ids, states, (State.ERROR,))
        return {
            "submitted": _times(facts.submitted),
            "started": _times(facts.started),
            "done": _times(facts.done),
            "error": partial(self._messages, len(ids), failed),
            "mem_used": facts.memory,
            "batch_id": facts.agent,
            "log_file": facts.log_file,
            "job_hash": facts.epoch,
            "job_name": names_of(tx, ids),
            **(_repl(tx, ids) if self.kind == KIND else {}),
            "time_queued": _spans(facts.started - facts.submitted),
            "time_running": _spans(facts.done - facts.started),
        }

    def _pars_columns(self, tx: Transaction, ids: Ids) -> Columns:
        reader = ParameterRows(tx, self.objects)
        names, rows = reader.names, reader.rows(ids)
        if self.kind == KIND:
            columns = list(zip(*rows, strict=True)) or [()] * len(names)
            return {name: objects(column) for name, column in zip(names, columns, strict=True)}
        return {"job_pars": objects([dict(zip(names, row, strict=True)) for row in rows])}

    def _messages(self, jobs: int, failed: tuple[Ids, Located]) -> NDArray[np.object_]:
        """Return what went wrong with the failed ones among a number of jobs; else None."""
        messages = np.full(jobs, None, np.object_)
        where, located = failed
        with Failures(self.paths, self._db) as failures:
            for at, failure in zip(where.tolist(), failures.of(located), strict=True):
                messages[at] = failure.summary
        return messages


def _failed(
    tx: Transaction, ids: Ids, states: States, wanted: tuple[State, ...]
) -> tuple[Ids, Located]:
    """Return where jobs in the states stand among ids, and where their ends are."""
    where = np.flatnonzero(np.isin(states, wanted))
    return where, find_records(tx, ids[where])


class _Facts:
    """Gather what tables say of jobs; an element for each, NaN or None for what is not known."""

    def __init__(self, tx: Transaction, ids: Ids, states: NDArray[np.uint8]) -> None:
        ends = locate(tx, ids)
        function_ended = np.isin(states, ENDED_BY_FUNCTION)
        self.started = _known(ends["started"], ends["started"] > 0)
        self.done = _known(ends["ended"], function_ended)
        self.memory = _known(ends["memory"].astype(np.float64), ends["memory"] > 0)
        self.agent, self.log_file = _agents(tx, ends)
        self._add_running(tx, ids)
        self._add_submissions(tx, tx.pages.take("submission", ids))

    def _add_running(self, tx: Transaction, ids: Ids) -> None:
        running = tx.all("all_running")
        jobs = np.array([row[0] for row in running], np.int64)
        inside = np.flatnonzero(np.isin(jobs, ids))
        for at, place in zip(inside.tolist(), np.searchsorted(ids, jobs[inside]), strict=True):
            _, _, agent, started, _ = running[at]
            self.started[place] = started
            self.agent[place], self.log_file[place] = agent, f"{agent}.logs"

    def _add_submissions(self, tx: Transaction, numbers: NDArray[np.uint32]) -> None:
        unique, where = np.unique(numbers, return_inverse=True)
        facts = [_submission(tx, number) for number in unique.tolist()]
        self.submitted = np.array([submitted for submitted, _, _ in facts], np.float64)[where]
        self.epoch = objects([epoch for _, epoch, _ in facts])[where]


def _agents(tx: Transaction, ends: Ends) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    segments = {number: name.removesuffix(".results") for number, name in segment_names(tx).items()}
    agents = np.full(max(segments, default=0) + 1, None, np.object_)
    logs = agents.copy()
    for number, name in segments.items():
        agents[number], logs[number] = name, f"{name}.logs"
    return agents[ends["segment"]], logs[ends["segment"]]


def _submission(tx: Transaction, number: int) -> tuple[float, str | None, dict[str, Any] | None]:
    row = tx.execute("submission_facts", number).fetchone()
    if row is None:
        return np.nan, None, None
    submitted, epoch, resources = row
    return submitted, epoch[:_HASH_SHOWN], msgpack.unpackb(resources)


def _resources(tx: Transaction, ids: Ids) -> Columns:
    numbers = tx.pages.take("submission", ids)
    unique, where = np.unique(numbers, return_inverse=True)
    given = [_submission(tx, number)[2] for number in unique.tolist()]
    # each job gets a dict of its own: what is done to one row is no other's business
    rows = [None if (found := given[at]) is None else found.copy() for at in where.tolist()]
    return {"resources": objects(rows)}


def _names(tx: Transaction, ids: Ids) -> Columns:
    rows = tx.all("definition_names")
    names = np.full((2, rows[-1][0] + 1 if rows else 1), None, np.object_)
    for number, problem, algorithm in rows:
        names[:, number] = problem, algorithm
    problems, algorithms = names[:, Experiments(tx).definition[ids - 1]]
    return {"problem": problems, "algorithm": algorithms}


def _repl(tx: Transaction, ids: Ids) -> Columns:
    return {"repl": Experiments(tx).repl[ids - 1].astype(np.int64)}


def _tags(tx: Transaction, ids: Ids) -> Columns:
    return {"tags": tags_of(tx, ids)}


def _known(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(known, values, np.nan)


def _times(seconds: NDArray[np.float64]) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    return pd.Series(_ticks(seconds).view("M8[us]")).dt.tz_localize("UTC")


def _spans(seconds: NDArray[np.float64]) -> NDArray[np.timedelta64]:
    return _ticks(seconds).view("m8[us]")


def _ticks(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    known = np.isfinite(seconds)
    ticks = np.full(len(seconds), np.iinfo(np.int64).min)
    ticks[known] = np.round(seconds[known] * _MICROSECONDS).astype(np.int64)
    return ticks
