"""Take submissions back: kill what is on the system, reset what has ended."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from batchpilot.asking import by_owner
from batchpilot.errors import SubmissionError
from batchpilot.ids import JobIds, coerce_ids
from batchpilot.store.changing import revoke
from batchpilot.store.owner import read_owner
from batchpilot.store.pages import LIVE_STATES, Ids, State, read_column
from batchpilot.store.tidying import remove_external
from batchpilot.store.tombstones import entomb

from .submitting import Submitting


KILL_SECONDS = 10.0


class Withdrawing(Submitting):
    """Kill and reset jobs."""

    def kill_jobs(self, ids: Any = None) -> JobIds:
        """End jobs that are queued or running; they are as if never submitted.

        Queued jobs are withdrawn, running ones get SIGTERM and two seconds later SIGKILL.
        Whatever an agent out of reach still reports of them is ignored.

        Args:
            ids: Jobs, by default all on the system.

        Returns:
            The jobs killed: those of `ids` that were on the system.

        Example:
            >>> reg.kill_jobs(3)
        """
        killed = self._kill(ids)
        if len(killed):
            self._nudge()
            self._wait_for_cancels()
        return JobIds(killed)

    @by_owner
    def _kill(self, ids: Any) -> Ids:
        with self._changing() as tx:
            states = read_column(tx.db, "state")
            default = np.flatnonzero(np.isin(states, LIVE_STATES)) + 1
            chosen = coerce_ids(ids, states=states, default=default)
            killed: Ids = chosen[np.isin(states[chosen - 1], LIVE_STATES)]
            revoke(tx, killed)
        entomb(self._db)
        return killed

    def reset_jobs(self, ids: Any) -> JobIds:
        """Forget what became of jobs, their external directories too: as if never submitted.

        Args:
            ids: Jobs; none of them may be on the system.

        Returns:
            The jobs reset.

        Raises:
            SubmissionError: Some are queued or running.
        """
        chosen, reset = self._reset(ids)
        remove_external(self.paths, reset.tolist())
        return JobIds(chosen)

    @by_owner
    def _reset(self, ids: Any) -> tuple[Ids, Ids]:
        """Return the jobs chosen, and those of them that were not as if never submitted."""
        with self._changing() as tx:
            states = read_column(tx.db, "state")
            chosen = coerce_ids(ids, states=states, default=np.empty(0, np.int64))
            busy = chosen[np.isin(states[chosen - 1], LIVE_STATES)]
            if len(busy):
                raise SubmissionError(
                    f"{len(busy)} of the jobs are on the system, e.g. {busy[0]}",
                    remedy="kill them first with kill_jobs(...)",
                )
            reset: Ids = chosen[states[chosen - 1] != State.DEFINED]
            revoke(tx, reset)
        entomb(self._db)
        return chosen, reset

    def _wait_for_cancels(self) -> None:
        """Wait until the coordinator has passed the order on, while one is there to do it."""
        deadline = time.monotonic() + KILL_SECONDS
        pause = 0.002
        while time.monotonic() < deadline and read_owner(self.paths).coordinator_alive:
            with self._db.read() as tx:
                if not tx.all("all_cancels"):
                    return
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
