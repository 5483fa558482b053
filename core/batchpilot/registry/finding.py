"""Find jobs by state, tag and parameters, and count them. Nothing here changes anything."""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Iterable
from typing import Any

import numpy as np

from batchpilot.errors import DefinitionError
from batchpilot.expressions import Predicate, predicate
from batchpilot.ids import JobIds, coerce_ids
from batchpilot.status import Status
from batchpilot.store.pages import Ids, State
from batchpilot.store.rows import ParameterRows

from .selecting import NOT_DONE, QUEUED, STARTED, SUBMITTED, Selecting, count, members, merged


_BLOCK = 65_536


class Finding(Selecting):
    """Find jobs."""

    def get_status(self, ids: Any = None) -> Status:
        """Count the jobs by what has become of them.

        Args:
            ids: Jobs, by default all.

        Example:
            >>> print(reg.get_status())
            Status for 9 jobs at 2026-11-22 16:40:00:
              Submitted    : 9 (100.0%)
              ...
        """
        with self._db.read() as tx:
            states = self._states(tx)
            if ids is not None:
                chosen = coerce_ids(ids, states=states)
                states = _only(states, chosen)
            began = len(self._began(tx, states))
        n = count(states)
        queued = n[State.QUEUED] + n[State.FED]
        defined = len(states) - n[State.ABSENT]
        return Status(
            defined=defined,
            submitted=defined - n[State.DEFINED],
            started=sum(n[state] for state in STARTED) + began,
            done=n[State.DONE],
            error=n[State.ERROR],
            queued=queued,
            running=n[State.RUNNING],
            expired=n[State.EXPIRED],
            system=queued + n[State.RUNNING],
        )

    def find_jobs(self, expr: Any = None, ids: Any = None) -> JobIds:
        """Find jobs by their parameters.

        Args:
            expr: A Python expression over the parameters, evaluated in this process, or a
                function of them. `&`, `|` and `~` between comparisons mean and, or, not; names
                that are no parameters are the caller's variables. An unknown value (None, NaN) is
                no match. None finds all.
            ids: Jobs to look at, by default all.

        Raises:
            UnknownName: A name is neither a parameter nor a variable.
            DefinitionError: The expression fails for a job, or gives neither True nor False.

        Example:
            >>> reg.find_jobs("i == 2 & j == 8")
            JobIds(2)  # 1 job
        """
        frame = sys._getframe(1)  # noqa: SLF001 - the caller's variables are part of the language
        variables = ChainMap(frame.f_locals, frame.f_globals)
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids)
            names = ParameterRows(tx, self.objects).names
        if expr is None or not names:
            return JobIds.trusted(chosen)
        return self._matching(predicate(expr, names, variables), chosen)

    def find_submitted(self, ids: Any = None) -> JobIds:
        """Find jobs handed in, ended ones included."""
        return self._find(SUBMITTED, ids)

    def find_not_submitted(self, ids: Any = None) -> JobIds:
        """Find jobs that are not submitted."""
        return self._find((State.DEFINED,), ids)

    def find_queued(self, ids: Any = None) -> JobIds:
        """Find jobs submitted and not started."""
        return self._find(QUEUED, ids)

    def find_started(self, ids: Any = None) -> JobIds:
        """Find jobs that began to run, ended ones included."""
        return self._find(STARTED, ids, began=True)

    def find_not_started(self, ids: Any = None) -> JobIds:
        """Find jobs that have not begun to run."""
        return self.find_jobs(ids=ids) - self.find_started()

    def find_running(self, ids: Any = None) -> JobIds:
        """Find jobs that run now."""
        return self._find((State.RUNNING,), ids)

    def find_on_system(self, ids: Any = None) -> JobIds:
        """Find jobs queued or running."""
        return self._find((*QUEUED, State.RUNNING), ids)

    def find_done(self, ids: Any = None) -> JobIds:
        """Find jobs that returned a result."""
        return self._find((State.DONE,), ids)

    def find_not_done(self, ids: Any = None) -> JobIds:
        """Find jobs that have no result, failed ones included."""
        return self._find(NOT_DONE, ids)

    def find_error(self, ids: Any = None) -> JobIds:
        """Find jobs whose function raised."""
        return self._find((State.ERROR,), ids)

    find_errors = find_error

    def find_expired(self, ids: Any = None) -> JobIds:
        """Find jobs that ended without an outcome of their function: killed by a limit, lost."""
        return self._find((State.EXPIRED,), ids)

    def find_tagged(self, tags: str | Iterable[str], ids: Any = None) -> JobIds:
        """Find jobs that carry any of the tags."""
        names = [tags] if isinstance(tags, str) else list(tags)
        if not names:
            raise DefinitionError("no tag given", remedy="give at least one")
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids)
            rows = [job for name in names for (job,) in tx.all("jobs_tagged", name)]
        return JobIds.trusted(chosen[np.isin(chosen, np.array(rows, np.int64))])

    def _find(self, wanted: tuple[State, ...], ids: object, *, began: bool = False) -> JobIds:
        with self._db.read() as tx:
            states = self._states(tx)
            found = members(states, wanted)
            if began:
                found = merged(found, self._began(tx, states))
        if ids is None:
            return JobIds.trusted(found)
        chosen = coerce_ids(ids, states=states)
        return JobIds.trusted(chosen[np.isin(chosen, found)])

    def _matching(self, test: Predicate, ids: Ids) -> JobIds:
        """Return the jobs that match; the user's code is run outside of transactions."""
        found = [np.empty(0, np.int64)]
        for start in range(0, len(ids), _BLOCK):
            with self._db.read() as tx:
                reader = ParameterRows(tx, self.objects)
                blocks = list(reader.blocks(ids[start : start + _BLOCK]))
            found += [test.select(rows, block) for block, rows in blocks]
        return JobIds.trusted(np.concatenate(found))


def _only(states: Any, ids: Ids) -> Any:
    """Return the states as if there were no other jobs than these."""
    kept = np.zeros_like(states)
    kept[ids - 1] = states[ids - 1]
    return kept
