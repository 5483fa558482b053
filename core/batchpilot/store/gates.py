"""Gates: what submissions wait for before their jobs are fed.

A gate names the jobs that were unfinished when the submission was made; one that is done is struck
off, and never looked at again. So each gate names jobs submitted before it, and no two submissions
can wait for each other. When nothing is left, the spans go to the feeder. A predecessor that is
anything but unfinished or done shuts the gate for good, and the coordinator expires what is behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .database import Transaction
from .pages import LIVE_STATES, Ids, State, pack_ranges, read_column, span_ids, unpack_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Hold what a submission waits for.

    Attributes:
        left: Predecessors that are not done yet.
        failed: One that has failed, 0 while none has.
    """

    left: Ids
    failed: int = 0

    @property
    def open(self) -> bool:
        """Tell whether nothing holds the submission back."""
        return not self.failed and not len(self.left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """Hold jobs that wait for what has failed."""

    ids: Ids
    failed: int


_FEW = 2048
_LIVE, _DONE = 1, 2
_STANDING = np.zeros(256, "u1")
_STANDING[list(LIVE_STATES)] = _LIVE
_STANDING[State.DONE] = _DONE


def states_of(tx: Transaction, ids: Ids) -> NDArray[np.uint8]:
    """Return the states of jobs, whether they exist or not; of few, only their pages are read."""
    if len(ids) <= _FEW:
        return tx.pages.take("state", ids)
    states = read_column(tx.db, "state")
    inside = (ids >= 1) & (ids <= len(states))
    found = np.zeros(len(ids), "u1")
    found[inside] = states[ids[inside] - 1]
    return found


def judge(after: Ids, states: NDArray[np.uint8]) -> Gate:
    """Return the gate that jobs in certain states make.

    Example:
        >>> judge(np.array([7, 9]), np.array([State.DONE, State.QUEUED], "u1")).left.tolist()
        [9]
    """
    standing = _STANDING[states]
    failed = after[standing == 0]
    return Gate(left=after[standing == _LIVE], failed=int(failed[0]) if len(failed) else 0)


def hold(tx: Transaction, submission: int, after: Ids) -> None:
    """Make the spans of a submission wait for jobs, as far as they are not done.

    Call it whenever spans were added.
    """
    gate = read_gate(tx, submission)
    if gate is None:
        gate = judge(after, states_of(tx, after))
        tx.execute("add_gate", submission, pack_ranges(gate.left), gate.failed or None)
    if not gate.open:
        tx.execute("hold_spans", submission)
        tx.execute("drop_spans", submission)


def read_gate(tx: Transaction, submission: int) -> Gate | None:
    """Return the gate of a submission, None where it never waited."""
    row = tx.execute("read_gate", submission).fetchone()
    return row and Gate(left=unpack_ranges(row[0]), failed=row[1] or 0)


def moved(tx: Transaction) -> dict[int, Gate]:
    """Return the gates, by submission, that are not any more as they stand in the registry."""
    changed: dict[int, Gate] = {}
    for submission, blob in tx.all("waiting_gates"):
        after = unpack_ranges(blob)
        gate = judge(after, states_of(tx, after))
        if gate.failed or len(gate.left) < len(after):
            changed[submission] = gate
    return changed


def settle(tx: Transaction) -> None:
    """Bring the gates up to date with the states of the jobs; let go what waits no more.

    To be called before a state is changed in the transaction.
    """
    for submission, gate in moved(tx).items():
        if gate.failed:
            tx.execute("fail_gate", gate.failed, submission)
            continue
        tx.execute("narrow_gate", pack_ranges(gate.left), submission)
        if gate.open:
            tx.execute("release_spans", submission)
            tx.execute("drop_held", submission)


def doomed(tx: Transaction, most: int) -> Doomed | None:
    """Take the next jobs behind a gate that is shut for good, None where there are none."""
    row = tx.execute("next_failed").fetchone()
    if row is None:
        return None
    number, submission, first, size, blob, done, failed = row
    stop = min(done + most, size)
    if stop == size:
        tx.execute("drop_held_span", number)
    else:
        tx.execute("move_held", stop, number)
    ids = span_ids(first, size, blob, done, stop)
    waits = tx.pages.take("state", ids) == State.QUEUED
    mine = tx.pages.take("submission", ids) == submission
    return Doomed(ids=ids[waits & mine], failed=failed)
