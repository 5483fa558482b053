"""Where a job stands on its way to an agent, as the registry alone knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .database import Transaction
from .pages import Ids, State, read_column, span_ids, unpack_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Hold where a job stands that is submitted and does not run.

    Attributes:
        ahead: Jobs of its class, submitted and not begun, that come before it; of a job whose chunk
            an agent has claimed, those in the chunk.
        agent: The agent that has claimed it, "" while none has.
        begun: Unix time at which that agent began the chunk, None where it has not.
        placed: Whether it is anywhere; one that is not is found by the coordinator's audit.
    """

    ahead: int = 0
    agent: str = ""
    begun: float | None = None
    placed: bool = True


def position_of(tx: Transaction, job: int, class_id: str) -> Position:
    """Return where a queued job of a class stands."""
    state = int(tx.pages.take("state", np.array([job]))[0])
    if state == State.FED:
        return _fed(tx, job, class_id)
    ahead = _unclaimed(tx, class_id)
    for ids in _unfed(tx, class_id):
        place = np.flatnonzero(ids == job)
        if len(place):
            return Position(ahead=ahead + int(place[0]))
        ahead += len(ids)
    return Position(placed=False)


def _fed(tx: Transaction, job: int, class_id: str) -> Position:
    attempt = int(tx.pages.take("attempt", np.array([job]))[0])
    for number, made, ranges, agent, begun in tx.all("chunks_of_class", class_id):
        ids = unpack_ranges(ranges)
        place = np.flatnonzero(ids == job)
        if made != attempt or not len(place):
            continue
        before = _still(tx, ids[: int(place[0])], attempt)
        ahead = before if agent else before + _unclaimed(tx, class_id, number)
        return Position(ahead=ahead, agent=agent, begun=begun)
    return Position(placed=False)


def _still(tx: Transaction, ids: Ids, attempt: int) -> int:
    """Return how many jobs of a chunk are still to be done in it."""
    states = tx.pages.take("state", ids)
    out = (states == State.FED) | (states == State.RUNNING)
    return int((out & (tx.pages.take("attempt", ids) == attempt)).sum())


def _unclaimed(tx: Transaction, class_id: str, before: int | None = None) -> int:
    """Return the jobs in chunks, older than a certain one, that no agent has claimed."""
    return sum(
        _still(tx, unpack_ranges(ranges), attempt)
        for number, attempt, ranges, agent, _ in tx.all("chunks_of_class", class_id)
        if not agent and (before is None or number < before)
    )


def _unfed(tx: Transaction, class_id: str) -> Iterator[Ids]:
    """Yield the jobs that are yet to be fed, in the order in which they will be."""
    states, submissions = read_column(tx.db, "state"), read_column(tx.db, "submission")

    def queued(ids: Ids, submission: int) -> Ids:
        mine: Ids = ids[(states[ids - 1] == State.QUEUED) & (submissions[ids - 1] == submission)]
        return mine

    for submission, ranges in tx.all("again_of_class", class_id):
        yield queued(unpack_ranges(ranges), submission)
    for submission, first, size, blob, done in tx.all("spans_of_class", class_id):
        yield queued(span_ids(first, size, blob, done), submission)
