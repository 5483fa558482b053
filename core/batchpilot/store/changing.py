"""Every change of a job's state, each a function of one transaction.

The rules of attempts stand here and nowhere else: the first terminal record applied of an attempt
that is not revoked wins; a record of an attempt at or below a job's floor, or of a job that has
ended, is ignored. The coordinator applies events with them, sessions submit and kill with them,
`repair` replays segments with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from batchpilot_broker.frames import NO_PART, ROW_FIELDS
from batchpilot_broker.nouns import Outcome

from .database import Transaction
from .pages import LIVE_STATES, Ids, State, pack_ranges, unpack_ranges
from .retrying import Failure, Try, failures_of, next_try
from .statements import sql


ROW_DTYPE = np.dtype(list(ROW_FIELDS))
MAX_ATTEMPTS = 3
MAX_PLANNED_ENDS = 10

NOBODY: Ids = np.empty(0, np.int64)

Rows = NDArray[np.void]

_STATE_OF = np.zeros(256, "u1")
_STATE_OF[Outcome.DONE] = State.DONE
_STATE_OF[Outcome.ERROR] = State.ERROR
_STATE_OF[Outcome.EXPIRED] = State.EXPIRED
_STATE_OF[Outcome.LOST] = State.EXPIRED


@dataclass(slots=True)
class Applied:
    """Hold what came of a stretch of a segment.

    Attributes:
        ended: Rows of the jobs that ended.
        requeued: Number of jobs to be fed again after a charged loss.
        retried: Number of jobs that failed and try again.
        ignored: Number of rows that came too late.
        rivals: Jobs that ended while a newer attempt may still run.
    """

    ended: list[Rows] = field(default_factory=list)
    requeued: int = 0
    retried: int = 0
    ignored: int = 0
    rivals: list[Ids] = field(default_factory=list)


def apply_rows(tx: Transaction, segment: int, rows: Rows, applied: Applied) -> None:
    """Apply event rows of one segment in their order.

    Args:
        tx: A write transaction.
        segment: Number of the segment.
        rows: Records of `ROW_DTYPE`.
        applied: Where the consequences are added.
    """
    while len(rows):
        first = np.zeros(len(rows), bool)
        first[np.unique(rows["job"], return_index=True)[1]] = True
        _apply_unique(tx, segment, rows[first], applied)
        rows = rows[~first]


def _apply_unique(tx: Transaction, segment: int, rows: Rows, applied: Applied) -> None:
    known = (rows["job"] >= 1) & (rows["job"] <= tx.meta("last_job"))
    rows, strangers = rows[known], int((~known).sum())
    jobs = rows["job"].astype(np.int64)
    attempt = tx.pages.take("attempt", jobs)
    states = tx.pages.take("state", jobs)
    valid = (
        (rows["attempt"] > tx.pages.take("floor", jobs))
        & (rows["attempt"] <= attempt)
        & np.isin(states, LIVE_STATES)
        & (rows["outcome"] >= Outcome.DONE)
        & (rows["outcome"] <= Outcome.LOST)
    )
    lost = valid & (rows["outcome"] == Outcome.LOST)
    current = rows["attempt"] == attempt
    expired = charge(tx, jobs[lost & current], applied)
    ended = (valid & ~lost) | (lost & current & np.isin(jobs, expired))
    applied.ignored += strangers + int((~valid | (lost & ~current)).sum())
    ended[ended] = ~_try_again(tx, rows[ended], applied)
    _stop_running(tx, jobs[ended & (states == State.RUNNING)])
    if ended.any():
        outcome = tx.execute("add_outcome", segment, rows[ended].tobytes()).lastrowid
        tx.pages.put("state", jobs[ended], _STATE_OF[rows["outcome"][ended]])
        tx.pages.put("outcome", jobs[ended], int(outcome or 0))
        applied.ended.append(rows[ended])
        applied.rivals.append(jobs[ended & ~current])


def _try_again(tx: Transaction, rows: Rows, applied: Applied) -> NDArray[np.bool_]:
    """Queue again the failed jobs whose submission allows another try; tell which they are.

    What they did is revoked, as that of jobs submitted anew: no record of it counts any more.
    """
    tried = np.zeros(len(rows), bool)
    failures = failures_of(rows)
    failed = failures < len(Failure)
    if not failed.any():
        return tried
    jobs = rows["job"].astype(np.int64)
    submissions = tx.pages.take("submission", jobs).astype(np.int64)
    for number, failure in enumerate(Failure):
        for submission in np.unique(submissions[failures == number]).tolist():
            further = next_try(tx, submission, failure)
            if further is not None:
                mine = (failures == number) & (submissions == submission)
                _resubmit(tx, jobs[mine], further)
                applied.retried += int(mine.sum())
                tried |= mine
    return tried


def _resubmit(tx: Transaction, ids: Ids, further: Try) -> None:
    revoke(tx, ids)
    tx.pages.put("submission", ids, further.submission)
    tx.pages.put("state", ids, State.QUEUED)
    tx.execute("add_again", further.class_id, further.submission, 0, pack_ranges(ids))


def charge(tx: Transaction, ids: Ids, applied: Applied, *, mates: Ids = NOBODY) -> Ids:
    """Charge a loss to jobs, queue again those that may try again, return those that may not.

    Args:
        tx: A write transaction.
        ids: The jobs that were lost.
        applied: Where the consequences are added.
        mates: Jobs that are to be queued with them, in one chunk, and not charged.
    """
    charged = tx.pages.take("charged", ids).astype(np.int64) + 1
    tx.pages.put("charged", ids, np.minimum(charged, 255))
    again = ids[charged < MAX_ATTEMPTS]
    applied.requeued += len(again)
    queue_again(tx, np.concatenate((again, mates)), alone=not len(mates))
    worn_out: Ids = ids[charged >= MAX_ATTEMPTS]
    return worn_out


def queue_again(tx: Transaction, ids: Ids, *, alone: bool) -> None:
    """Put jobs that were handed out back into the queue, before what was never fed.

    Args:
        tx: A write transaction.
        ids: Jobs in the order they are to run.
        alone: Whether each is to be a chunk of its own, because it was running when it was lost.
    """
    if not len(ids):
        return
    _stop_running(tx, ids[tx.pages.take("state", ids) == State.RUNNING])
    tx.pages.put("state", ids, State.QUEUED)
    submissions = tx.pages.take("submission", ids)
    for submission in np.unique(submissions).tolist():
        row = tx.execute("read_submission", submission).fetchone()
        part = ids[submissions == submission]
        tx.execute("add_again", row[1], submission, int(alone), pack_ranges(part))


def handed_out(tx: Transaction, ids: Ids, attempt: int) -> Ids:
    """Return those of the jobs that are handed out under this very attempt, in their order."""
    states = tx.pages.take("state", ids)
    mine = (states == State.FED) | (states == State.RUNNING)
    held: Ids = ids[mine & (tx.pages.take("attempt", ids) == attempt)]
    return held


def give_back(tx: Transaction, ids: Ids, attempt: int, *, planned: bool) -> Ids:
    """Queue again what an agent handed back, uncharged; return the jobs that never fit.

    Args:
        tx: A write transaction.
        ids: Jobs handed back, in their order.
        attempt: Attempt under which the agent held them.
        planned: Whether they had begun: ten planned ends without an end of the job are too many.
    """
    ids = handed_out(tx, ids, attempt)
    never = ids[:0]
    if planned and len(ids):
        count = tx.pages.take("planned", ids).astype(np.int64) + 1
        tx.pages.put("planned", ids, np.minimum(count, 255))
        never, ids = ids[count >= MAX_PLANNED_ENDS], ids[count < MAX_PLANNED_ENDS]
    queue_again(tx, ids, alone=False)
    return never


def note_running(
    tx: Transaction, agent: str, running: Iterable[tuple[int, int, float, int]]
) -> None:
    """Note that jobs run at an agent, as (job, attempt, started, log position)."""
    hints = list(running)
    if not hints:
        return
    jobs = np.array([job for job, *_ in hints], np.int64)
    attempts = np.array([attempt for _, attempt, *_ in hints])
    jobs, attempts = jobs[jobs <= tx.meta("last_job")], attempts[jobs <= tx.meta("last_job")]
    states = tx.pages.take("state", jobs)
    out = (states == State.FED) | (states == State.RUNNING)
    mine = set(jobs[out & (tx.pages.take("attempt", jobs) == attempts)].tolist())
    tx.pages.put("state", np.array(sorted(mine), np.int64), State.RUNNING)
    for job, attempt, started, log_pos in hints:
        if job in mine:
            tx.execute("add_running", job, attempt, agent, started, _signed(log_pos))


def _stop_running(tx: Transaction, ids: Ids) -> None:
    tx.db.executemany(sql("drop_running"), [(job,) for job in ids.tolist()])


def _signed(log_pos: int) -> int:
    return -1 if log_pos >= NO_PART else log_pos


def revoke(tx: Transaction, ids: Ids) -> None:
    """Forget what became of jobs: no record of an attempt made so far counts any more.

    The coordinator, told by rows of `cancel`, ends what runs or waits at the agents and writes a
    tombstone into its segment, so that not even `repair` brings the old records back.
    """
    attempt = tx.pages.take("attempt", ids)
    states = tx.pages.take("state", ids)
    for value in np.unique(attempt[attempt > 0]).tolist():
        tx.execute("add_cancel", pack_ranges(ids[attempt == value]), value)
    _stop_running(tx, ids[states == State.RUNNING])
    tx.pages.put("floor", ids, attempt)
    tx.pages.put("state", ids, State.DEFINED)
    for column in ("charged", "planned", "submission", "outcome"):
        tx.pages.put(column, ids, 0)


def end_chunk(tx: Transaction, chunk: int) -> Ids:
    """Forget a chunk; return the jobs in it that nobody has accounted for, queued again."""
    row = tx.execute("read_chunk", chunk).fetchone()
    if row is None:
        return NOBODY
    _, _, attempt, ranges, _, _ = row
    tx.execute("drop_chunk", chunk)
    left = handed_out(tx, unpack_ranges(ranges), attempt)
    queue_again(tx, left, alone=False)
    return left


def stays_together(tx: Transaction, submission: int) -> bool:
    """Tell whether a submission's chunks are the user's: their jobs come back together."""
    row = tx.execute("read_submission", submission).fetchone()
    return bool(row and row[6])
