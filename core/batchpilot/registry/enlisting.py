"""Write submissions: states, spans and gates, in short transactions of about 100,000 jobs.

What could refuse a submission is asked in the first of them, so that a refusal leaves nothing
half-written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import SubmissionError
from batchpilot.jobids import as_array, some
from batchpilot.lots import Lot
from batchpilot.resources import class_id, pack
from batchpilot.store.changing import NOBODY, revoke
from batchpilot.store.database import Transaction
from batchpilot.store.gates import hold, settle, states_of
from batchpilot.store.pages import LIVE_STATES, Ids, State
from batchpilot_broker.nouns import ResourceClass


BLOCK = 100_000
SPAN_OF_CHUNKS = 4096
"""A span of the user's chunks has about so many jobs, as it is read for each chunk fed."""

Write = Callable[[], AbstractContextManager[Transaction]]

_UNFIT = {
    State.ABSENT: "it does not exist",
    State.DEFINED: "it is not submitted",
    State.ERROR: "it ended in an error",
    State.EXPIRED: "it has expired",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Hold a submission to be written.

    Attributes:
        lot: Its jobs.
        needed: Their class.
        epoch: Their code.
        retries: Further tries by kind of failure, as msgpack.
        after: Jobs that must be done first.
    """

    lot: Lot
    needed: ResourceClass
    epoch: str
    retries: bytes = b""
    after: Ids = field(default_factory=lambda: NOBODY)

    def to_wire(self) -> list[Any]:
        """Return the list by which another host is asked to write it."""
        lot = [self.lot.ids, dict(self.lot.resources), self.lot.ends]
        return [*lot, self.needed, self.epoch, self.retries, self.after]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Entry:
        """Return the submission that such a list holds."""
        ids, resources, ends, needed, epoch, retries, after = wire
        lot = Lot(ids=ids, resources=resources, ends=ends)
        return cls(lot=lot, needed=needed, epoch=epoch, retries=retries, after=after)


def predecessors(tx: Transaction, after: object, ids: Ids) -> Ids:
    """Return the jobs to wait for, sorted: all are on the system or done.

    Args:
        tx: A view of the registry's database.
        after: What the user gave, None for none.
        ids: The jobs that are to wait.

    Raises:
        SubmissionError: One that will never be done, by name.
    """
    if after is None:
        return NOBODY
    chosen = np.unique(as_array(after))
    standing = states_of(tx, chosen)
    itself = chosen[np.isin(chosen, ids)]
    if len(itself):
        raise SubmissionError(
            f"job {itself[0]} cannot wait for itself", remedy="take it out of after=..., or of ids"
        )
    unfit = ~np.isin(standing, (*LIVE_STATES, State.DONE))
    if unfit.any():
        at = int(np.argmax(unfit))
        raise SubmissionError(
            f"job {chosen[at]} cannot be waited for: {_UNFIT[State(standing[at])]}"
            + (f" (of {int(unfit.sum())} such jobs)" if unfit.sum() > 1 else ""),
            remedy="submit it first, or take it out of after=...",
        )
    return chosen


def enlist(write: Write, entries: Sequence[Entry]) -> None:
    """Write submissions.

    Args:
        write: Gives write transactions.
        entries: The submissions, in their order.

    Raises:
        SubmissionError: Another session has taken some of the jobs, or changed a predecessor.
    """
    everyone = np.concatenate([entry.lot.ids for entry in entries])
    numbers: dict[int, int] = {}
    for block in _blocks(entries):
        with write() as tx:
            if not numbers:
                _refuse_taken(everyone, states_of(tx, everyone))
                predecessors(tx, entries[0].after, everyone)
            settle(tx)
            for at, ids, ends in block:
                if at not in numbers:
                    numbers[at] = _add(tx, entries[at])
                _queue(tx, entries[at], numbers[at], ids, ends)


_Block = list[tuple[int, Ids, Ids | None]]
"""Number of the entry, some of its jobs, where the user's chunks end among them."""


def _blocks(entries: Sequence[Entry]) -> Iterator[_Block]:
    """Yield what to write in each transaction."""
    block: _Block = []
    room = BLOCK
    for at, entry in enumerate(entries):
        most = BLOCK if entry.lot.ends is None else SPAN_OF_CHUNKS
        for ids, ends in entry.lot.parts(most):
            if block and len(ids) > room:
                yield block
                block, room = [], BLOCK
            block.append((at, ids, ends))
            room -= len(ids)
    if block:
        yield block


def _add(tx: Transaction, entry: Entry) -> int:
    name, needed = class_id(entry.needed), entry.needed
    tx.execute("add_class", name, msgpack.packb(needed.to_wire()))
    shown = pack(entry.lot.resources)
    fields = (time.time(), name, entry.epoch, shown, needed.priority, entry.retries)
    number = int(tx.execute("add_submission", *fields).lastrowid or 0)
    if entry.lot.ends is not None:
        tx.execute("keep_chunks", number)
    return number


def _queue(tx: Transaction, entry: Entry, number: int, ids: Ids, ends: Ids | None) -> None:
    _refuse_taken(ids, tx.pages.take("state", ids))
    revoke(tx, ids)
    tx.pages.put("submission", ids, number)
    tx.pages.put("state", ids, State.QUEUED)
    contiguous = bool((np.diff(ids) == 1).all())
    blob = None if contiguous else ids.astype("<u4").tobytes()
    cuts = None if ends is None else ends.astype("<u4").tobytes()
    name = class_id(entry.needed)
    tx.execute("add_span", number, name, int(ids[0]), len(ids), blob, cuts)
    if len(entry.after):
        hold(tx, number, entry.after)


def _refuse_taken(ids: Ids, states: NDArray[np.uint8]) -> None:
    taken = ids[np.isin(states, (*LIVE_STATES, State.ABSENT))]
    if len(taken):
        raise SubmissionError(
            f"another session has taken {len(taken)} of the jobs meanwhile, e.g. {some(taken)}",
            remedy="look with get_status(), then submit the rest",
        )
