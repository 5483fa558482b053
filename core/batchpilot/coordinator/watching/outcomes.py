"""Count ended jobs from what the registry keeps of them: each row of `outcome` exactly once.

A row is counted in the order of its number, and the number is kept together with the totals. So
live counting, a restart and a registry that has never been watched are one and the same step.
All of it is arithmetic on arrays: 100,000 jobs a second come by here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from batchpilot.store.changing import ROW_DTYPE, Rows
from batchpilot.store.database import Transaction
from batchpilot.store.pages import Ids, read_column
from batchpilot_broker.nouns import Outcome, Reason

from .catalogue import JOBS_FINISHED, OUTCOMES, PEAK_MEMORY, QUEUE_WAIT, RUN_DURATION
from .totals import Totals


ROWS_A_STEP = 250_000
MEBI = float(1 << 20)
_MANY_JOBS = 50_000
_MANY_SUBMISSIONS = 10_000

_INDEX = np.full(256, OUTCOMES.index("expired"))
_INDEX[Outcome.DONE] = OUTCOMES.index("done")
_INDEX[Outcome.ERROR] = OUTCOMES.index("error")
_NEVER_RAN = (Reason.AGENT_LOST, Reason.NEVER_FITS, Reason.PREDECESSOR)
"""Reasons of rows that the coordinator writes: their times are those of the verdict."""


@dataclass(slots=True)
class OutcomeCounter:
    """Count the outcomes that came since the last look.

    Attributes:
        totals: Where they are counted.
    """

    totals: Totals
    _submitted: dict[int, tuple[float, str]] = field(default_factory=dict)

    def step(self, tx: Transaction) -> bool:
        """Count at most about 250,000 rows; tell whether there is more."""
        blobs: list[bytes] = []
        size = 0
        for number, blob in tx.execute("outcomes_after", self._upto(tx)):
            blobs.append(blob)
            self.totals.upto = number
            size += len(blob) // ROW_DTYPE.itemsize
            if size >= ROWS_A_STEP:
                break
        if blobs:
            self._count(tx, np.frombuffer(b"".join(blobs), ROW_DTYPE))
        return size >= ROWS_A_STEP

    def _upto(self, tx: Transaction) -> int:
        newest = int(tx.execute("newest_outcome_number").fetchone()[0])
        if newest < self.totals.upto:
            self.totals.upto = 0  # the registry was cleared, its numbers begin anew
        return self.totals.upto

    def _count(self, tx: Transaction, rows: Rows) -> None:
        kind = _INDEX[rows["outcome"]]
        for index, number in enumerate(np.bincount(kind, minlength=len(OUTCOMES)).tolist()):
            self.totals.add(JOBS_FINISHED, (OUTCOMES[index],), number)
        ran = ~np.isin(rows["reason"], _NEVER_RAN)
        rows, kind = rows[ran], kind[ran]
        seconds = rows["ended"] - rows["started"]
        memory = rows["memory"].astype(np.float64) * MEBI
        for index, outcome in enumerate(OUTCOMES):
            mine = kind == index
            if mine.any():
                self.totals.observe(RUN_DURATION, (outcome,), seconds[mine])
                self.totals.observe(PEAK_MEMORY, (outcome,), memory[mine & (memory > 0)])
        self._waits(tx, rows)

    def _waits(self, tx: Transaction, rows: Rows) -> None:
        """Count waits, but of jobs that were reset or submitted again meanwhile."""
        submissions = _submissions(tx, rows["job"].astype(np.int64))
        numbers, place = np.unique(submissions, return_inverse=True)
        facts = [self._facts(tx, number) for number in numbers.tolist()]
        waits = rows["started"] - np.array([submitted for submitted, _ in facts])[place]
        labels = np.array([self.totals.bounded("class", name) if name else "" for _, name in facts])
        of_job = labels[place]
        for label in np.unique(labels[labels != ""]).tolist():
            self.totals.observe(QUEUE_WAIT, (label,), waits[(of_job == label) & (waits >= 0)])

    def _facts(self, tx: Transaction, submission: int) -> tuple[float, str]:
        """Return when a submission was made and its class; 0 is none."""
        if len(self._submitted) > _MANY_SUBMISSIONS:
            self._submitted.clear()
        if submission not in self._submitted:
            row = tx.execute("read_submission", submission).fetchone() or (0.0, "")
            self._submitted[submission] = float(row[0]), str(row[1])
        return self._submitted[submission]


def _submissions(tx: Transaction, jobs: Ids) -> NDArray[np.int64]:
    if len(jobs) < _MANY_JOBS:
        return tx.pages.take("submission", jobs).astype(np.int64)
    return read_column(tx.db, "submission")[jobs - 1].astype(np.int64)
