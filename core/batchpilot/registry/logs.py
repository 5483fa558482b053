"""What jobs wrote to stdout and stderr, their subprocesses included, and what ended them.

The log of a job is its output in the order written; for a job whose function raised the traceback
follows, for an expired one the reason. Of a running job it is what was mirrored so far.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batchpilot.errors import DefinitionError, LogMissing
from batchpilot.store.database import Transaction
from batchpilot.store.outcomes import Located, find_records
from batchpilot.store.pages import Ids, State
from batchpilot.store.records import Records
from batchpilot_broker.frames import NO_PART

from .failures import Failures
from .selecting import WORDS, Selecting


if TYPE_CHECKING:
    import pandas as pd

_LOGGED = (State.RUNNING, State.DONE, State.ERROR, State.EXPIRED)
_BLOCK = 8192
_FAILED = (State.ERROR, State.EXPIRED)


class Logging(Selecting):
    """Read logs."""

    def get_log(self, id: Any) -> list[str]:  # noqa: A002 - the name that users know
        """Return the log of one job as lines; also of a running job.

        Raises:
            JobsNotFound: There is no such job.
            LogMissing: It has not started.

        Example:
            >>> print(*reg.get_log(3))
        """
        with self._db.read() as tx:
            job = self._one(tx, id)
            state = State(int(self._states_of(tx, np.array([job]))[0]))
            if state not in _LOGGED:
                raise LogMissing(
                    f"there is no log of job {job}: it is {WORDS[state]}",
                    remedy="wait until it has started",
                )
            sources = _Sources.of(tx, np.array([job]))
        with _Reader(self) as reader:
            return reader.lines(sources)[0]

    def show_log(self, id: Any) -> None:  # noqa: A002 - the name that users know
        """Show the log of one job, in a pager ($PAGER) on a terminal.

        Raises:
            JobsNotFound: There is no such job.
            LogMissing: It has not started.
        """
        text = "".join(f"{line}\n" for line in self.get_log(id))
        if sys.stdout.isatty():
            import click  # noqa: PLC0415 - only needed on a terminal

            click.echo_via_pager(text)
        else:
            sys.stdout.write(text)

    def grep_logs(
        self,
        pattern: str,
        ids: Any = None,
        ignore_case: bool = False,
        fixed: bool = False,
    ) -> pd.DataFrame:
        """Search logs line by line.

        Args:
            pattern: A regular expression, or a plain string if `fixed`.
            ids: Jobs, by default all that have started; those without a log never match.
            ignore_case: Take upper and lower case as the same.
            fixed: Take the pattern literally.

        Returns:
            `job_id matches` of the jobs that match; `matches` holds the matching lines.

        Raises:
            DefinitionError: The pattern is empty or no regular expression.

        Example:
            >>> reg.grep_logs("not converged")
        """
        import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

        search = _searcher(pattern, ignore_case=ignore_case, fixed=fixed)
        found: dict[int, str] = {}
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids, _LOGGED)
            chosen = chosen[np.isin(self._states_of(tx, chosen), _LOGGED)]
        with _Reader(self) as reader:
            for block in np.array_split(chosen, len(chosen) // _BLOCK + 1):
                with self._db.read() as tx:
                    sources = _Sources.of(tx, block)
                for job, lines in zip(block.tolist(), reader.lines(sources), strict=True):
                    matches = [line for line in lines if search(line)]
                    if matches:
                        found[job] = "\n".join(matches)
        return pd.DataFrame(
            {
                "job_id": np.fromiter(found, np.int64, len(found)),
                "matches": pd.Series(list(found.values()), dtype=object),
            }
        )


@dataclass(frozen=True, slots=True)
class _Sources:
    """Hold where the logs of jobs are, gathered in one transaction.

    Attributes:
        located: The ends of the jobs.
        failed: The ends of those of them that have no result, and where they stand among all.
        running: Segment and last position of the logs of running jobs.
    """

    located: Located
    failed: tuple[Ids, Located]
    running: Mapping[int, tuple[str, int]]

    @classmethod
    def of(cls, tx: Transaction, ids: Ids) -> _Sources:
        located = find_records(tx, ids)
        states = tx.pages.take("state", ids)
        running = {}
        for job in ids[states == State.RUNNING].tolist():
            row = tx.execute("running_job", job).fetchone()
            if row is not None and row[2] >= 0:
                running[job] = (f"{row[0]}.results", row[2])
        failed = np.flatnonzero(np.isin(states, _FAILED))
        ends = Located(ids[failed], located.ends[failed], located.names)
        return cls(located, (failed, ends), running)


class _Reader:
    """Read the logs of jobs, from the front of each file to its back."""

    def __init__(self, registry: Logging) -> None:
        self._records = Records(registry.paths, registry.database)
        self._failures = Failures(registry.paths, registry.database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._records.close()
        self._failures.close()

    def lines(self, sources: _Sources) -> list[list[str]]:
        """Return the lines of each job's log."""
        ends = sources.located.ends
        places = list(sources.located.places())
        logs: list[list[str]] = [[] for _ in places]
        for at in np.lexsort((ends["log_pos"], ends["segment"])).tolist():
            job, segment, end = places[at]
            segment, pos = sources.running.get(job, (segment, int(end["log_pos"])))
            if segment is not None and pos != NO_PART:
                logs[at] = _lines(self._records.log(segment, job, pos))
        where, failed = sources.failed
        for at, failure in zip(where.tolist(), self._failures.of(failed), strict=True):
            logs[at] += (failure.traceback.rstrip("\n") or failure.summary).split("\n")
        return logs


def _lines(output: bytes) -> list[str]:
    """Return lines of output; bytes that are no UTF-8 become U+FFFD."""
    if not output:
        return []
    lines = output.decode(errors="replace").removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


def _searcher(pattern: str, *, ignore_case: bool, fixed: bool) -> Callable[[str], Any]:
    if not pattern:
        raise DefinitionError("the pattern is empty", remedy="give what to search for")
    try:
        return re.compile(
            re.escape(pattern) if fixed else pattern, re.IGNORECASE if ignore_case else 0
        ).search
    except re.error as error:
        raise DefinitionError(
            f"{pattern!r} is no regular expression: {error}",
            remedy="mend it, or search for it literally with fixed=True",
        ) from error
