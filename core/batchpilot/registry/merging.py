"""Take over what a copy of this registry has computed meanwhile.

Two copies of one registry may be worked on apart, on another machine for example, and put together
again. Records and logs are written anew into a segment of this registry, under an attempt above
all that it has handed out, so that everything else sees them as ends of its own jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import DefinitionError
from batchpilot.ids import JobIds
from batchpilot.jobids import some
from batchpilot.notices import warn
from batchpilot.store.carrying import copy_code, staged
from batchpilot.store.changing import Applied, apply_rows, revoke
from batchpilot.store.comparing import first_difference
from batchpilot.store.database import Transaction
from batchpilot.store.merged import Copied, MergedSegment
from batchpilot.store.outcomes import Located, find_records
from batchpilot.store.pages import LIVE_STATES, Ids, State, read_column
from batchpilot.store.records import Records
from batchpilot.store.replay import segment_of
from batchpilot.store.tombstones import entomb

from .base import RegistryBase
from .submitting import Submitting


BLOCK = 4096
"""Records in one row of the database: a row is read whole, whichever of its jobs is asked for."""

States = NDArray[np.uint8]
SubmissionRow = tuple[float, str, bytes, str, bytes, int]
"""When, class, its resources, epoch, resources as given, priority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """Hold what is taken over from the other registry, as it was at one moment.

    Attributes:
        located: The jobs and where their ends are.
        numbers: Number of each job's submission there.
        submissions: The submissions by their numbers.
    """

    located: Located
    numbers: NDArray[np.int64]
    submissions: Mapping[int, SubmissionRow]

    @classmethod
    def of(cls, tx: Transaction, ids: Ids) -> _Taken:
        numbers = tx.pages.take("submission", ids).astype(np.int64)
        rows = {n: _submission(tx, n) for n in np.unique(numbers[numbers > 0]).tolist()}
        known = {number: row for number, row in rows.items() if row is not None}
        return cls(located=find_records(tx, ids), numbers=numbers, submissions=known)


class Merging(Submitting):
    """Merge registries."""

    def merge(self, source: RegistryBase) -> JobIds:
        """Take over what a copy of this registry has computed and this one has not.

        Results, logs, times, memory, resources and external directories of jobs that are done
        there and not here are taken over; so are errors of jobs that have not ended by their
        function here. Jobs that are on the system here are left alone, with a warning, as are
        those whose record is damaged.

        Args:
            source: The copy; it is only read.

        Returns:
            The jobs taken over.

        Raises:
            DefinitionError: It is no copy of this registry, or a job or its parameters differ, the
                first of which is named. Nothing was written.
            StorageError: This registry's directory cannot be written. Nothing was taken over.

        Example:
            >>> reg.merge(bp.load_registry("/media/stick/study", writeable=False))
            JobIds(6-9)
        """
        self._check_writeable()
        if getattr(source, "id", None) != self.id:
            raise DefinitionError(
                f"{source!r:.80} is no copy of {self.paths.root}",
                remedy="define the same jobs in one registry, or collect results from both",
            )
        with self._db.read() as here, source.database.read() as there:
            differing = first_difference(here, there)
            if differing is not None:
                raise _different(*differing)
            mine, theirs = read_column(here.db, "state"), read_column(there.db, "state")
            ids = np.flatnonzero(_wanted(mine, theirs)) + 1
            attempt = int(here.pages.take("attempt", ids).max(initial=0)) + 1
            taken = _Taken.of(there, ids)
        _tell("are on the system here and were left alone", _busy(mine, theirs))
        if not len(ids):
            return JobIds([])
        with self._storing():
            copy_code(source.objects, self.objects, {row[3] for row in taken.submissions.values()})
            ended = self._take_over(source, taken, attempt, theirs)
        entomb(self._db)
        self._db.try_to_back_up()
        self._nudge()
        return JobIds(ended)

    def _take_over(self, source: RegistryBase, taken: _Taken, attempt: int, theirs: States) -> Ids:
        """Copy records, logs and external directories, then let them count, all at once."""
        jobs = taken.located.ids.tolist()
        with MergedSegment(self.paths, self.instance) as segment:
            with Records(source.paths, source.database) as records:
                copied = segment.copy(records, taken.located, attempt)
            with (
                staged(source.paths, self.paths, jobs, segment.agent) as move_in,
                self._changing() as tx,
            ):
                ended = _enter(tx, segment, copied, taken, attempt, theirs)
                move_in(ended.tolist())
            segment.keep(kept=len(ended) > 0)
        _tell("have a damaged record there and were left out", copied.torn)
        _tell("have a damaged log there, which was left out", copied.logless)
        return ended


def _wanted(mine: States, theirs: States) -> NDArray[np.bool_]:
    """Tell which jobs the other registry is ahead with."""
    done = (theirs == State.DONE) & np.isin(mine, (State.DEFINED, State.ERROR, State.EXPIRED))
    error = (theirs == State.ERROR) & np.isin(mine, (State.DEFINED, State.EXPIRED))
    ahead: NDArray[np.bool_] = done | error
    return ahead


def _busy(mine: States, theirs: States) -> list[int]:
    """Return the jobs that have ended there and are on the system here."""
    ended = np.isin(theirs, (State.DONE, State.ERROR))
    jobs: list[int] = (np.flatnonzero(ended & np.isin(mine, LIVE_STATES)) + 1).tolist()
    return jobs


def _different(job: int, why: str) -> DefinitionError:
    return DefinitionError(
        f"the registries cannot be merged: job {job} is not the same in both ({why})",
        remedy="merge only copies with equal jobs; define what is lacking in both",
    )


def _submission(tx: Transaction, number: int) -> SubmissionRow | None:
    row = tx.execute("read_submission", number).fetchone()
    if row is None:
        return None
    submitted, class_id, epoch, resources, priority, *_ = row
    (needed,) = tx.execute("read_class", class_id).fetchone()
    return submitted, class_id, needed, epoch, resources, priority


def _enter(  # noqa: PLR0913, PLR0917 - all that has been prepared
    tx: Transaction,
    segment: MergedSegment,
    copied: Copied,
    taken: _Taken,
    attempt: int,
    theirs: States,
) -> Ids:
    """Make the records ends of this registry's jobs; return those that still wanted one."""
    readable = ~np.isin(taken.located.ids, copied.torn)
    ids, numbers = taken.located.ids[readable], taken.numbers[readable]
    still = _wanted(tx.pages.take("state", ids), theirs[ids - 1])
    still &= tx.pages.take("attempt", ids) < attempt
    ids, numbers = ids[still], numbers[still]
    if not len(ids):
        return ids
    revoke(tx, ids)
    tx.pages.put("attempt", ids, attempt)
    tx.pages.put("state", ids, State.FED)
    number, _ = segment_of(tx, segment.name, segment.agent)
    rows = copied.rows_of(ids)
    for start in range(0, len(rows), BLOCK):
        apply_rows(tx, number, rows[start : start + BLOCK], Applied())
    for old, row in taken.submissions.items():
        tx.pages.put("submission", ids[numbers == old], _add_submission(tx, row))
    tx.execute("move_segment", segment.mark(ids, attempt), number)
    return ids


def _add_submission(tx: Transaction, row: SubmissionRow) -> int:
    """Note a submission of the other registry; its jobs have ended, no further try is left."""
    submitted, class_id, needed, epoch, resources, priority = row
    tx.execute("add_class", class_id, needed)
    added = tx.execute("add_submission", submitted, class_id, epoch, resources, priority, b"")
    return int(added.lastrowid or 0)


def _tell(what: str, jobs: Sequence[int]) -> None:
    if jobs:
        warn(f"{len(jobs)} job(s) {what}: {some(np.array(sorted(jobs)))}")
