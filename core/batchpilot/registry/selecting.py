"""What the reading parts share: states of jobs, and the ids a caller means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import JobsNotFound
from batchpilot.ids import coerce_ids
from batchpilot.store.database import Transaction
from batchpilot.store.outcomes import locate
from batchpilot.store.pages import Ids, State, read_column

from .base import RegistryBase


States = NDArray[np.uint8]

ALL = (
    *(State.DEFINED, State.QUEUED, State.FED, State.RUNNING),
    *(State.DONE, State.ERROR, State.EXPIRED),
)
SUBMITTED = ALL[1:]
QUEUED = (State.QUEUED, State.FED)
STARTED = (State.RUNNING, State.DONE, State.ERROR)
ENDED_BY_FUNCTION = (State.DONE, State.ERROR)
NOT_DONE = tuple(state for state in ALL if state is not State.DONE)

WORDS = {
    State.DEFINED: "not submitted",
    State.QUEUED: "queued",
    State.FED: "queued",
    State.RUNNING: "running",
    State.DONE: "done",
    State.ERROR: "error",
    State.EXPIRED: "expired",
}

_FEW = 2048


class Selecting(RegistryBase):
    """Turn what a caller gives as ids into ids of this registry."""

    def _states(self, tx: Transaction) -> States:
        return read_column(tx.db, "state")

    def _chosen(
        self,
        tx: Transaction,
        ids: object,
        default: tuple[State, ...] = ALL,
        *,
        keep_order: bool = False,
    ) -> Ids:
        """Return the ids a caller means; None means the jobs in the default states."""
        states = self._states(tx)
        return coerce_ids(
            ids, states=states, default=lambda: members(states, default), keep_order=keep_order
        )

    def _one(self, tx: Transaction, job: object) -> int:
        """Return the one job a caller means.

        Raises:
            JobsNotFound: It is none, or several.
        """
        ids = coerce_ids(job, states=lambda ids: tx.pages.take("state", ids))
        if len(ids) != 1:
            raise JobsNotFound(
                f"exactly one valid id is needed, {len(ids)} given ({job!r:.40})",
                remedy="the ids are those of reg.find_jobs()",
            )
        return int(ids[0])

    def _states_of(self, tx: Transaction, ids: Ids) -> States:
        """Return the states of jobs; of few, only their pages are read."""
        if len(ids) <= _FEW:
            return tx.pages.take("state", ids)
        taken: States = self._states(tx)[ids - 1]
        return taken

    def _began(self, tx: Transaction, states: States) -> Ids:
        """Return the expired jobs that had begun to run."""
        expired = members(states, (State.EXPIRED,))
        return expired[locate(tx, expired)["started"] > 0] if len(expired) else expired


def members(states: States, wanted: tuple[State, ...]) -> Ids:
    """Return the ids of the jobs in any of the states, sorted."""
    table = np.zeros(256, bool)
    table[list(wanted)] = True
    return np.flatnonzero(table[states]) + 1


def merged(ids: Ids, others: Ids) -> Ids:
    """Return sorted ids and others, none of them in both, sorted."""
    return np.sort(np.concatenate((ids, others)), kind="stable") if len(others) else ids


def count(states: States) -> dict[State, int]:
    """Return how many jobs are in each state."""
    counts: list[int] = np.bincount(states, minlength=len(State)).tolist()
    return dict(zip(State, counts, strict=False))
