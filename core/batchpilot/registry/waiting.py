"""Wait until jobs have ended, watching the registry alone: whoever writes to it, the wait sees it.

SQLite tells in microseconds whether anything was written, so a wait looks often, every 2 ms at
first and later every 2 % of the time waited, at most 50 ms, and counts only after a change.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchpilot.errors import CoordinatorFailed
from batchpilot.notices import warn
from batchpilot.progress import Progress, progress_for
from batchpilot.seat import standing
from batchpilot.store.launches import failing, launch_failures
from batchpilot.store.owner import read_owner
from batchpilot.store.pages import Ids, State

from .selecting import SUBMITTED, Selecting, States, count
from .submitting import Submitting


_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05
_PAUSE_SHARE = 0.02
_RECOUNT_SECONDS = 1.0
_ENSURE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waited:
    """Hold how far the jobs waited for have come."""

    jobs: int
    done: int
    error: int
    expired: int
    running: int
    withdrawn: int

    @classmethod
    def of(cls, states: States) -> _Waited:
        n = count(states)
        return cls(
            jobs=len(states),
            done=n[State.DONE],
            error=n[State.ERROR],
            expired=n[State.EXPIRED],
            running=n[State.RUNNING],
            withdrawn=n[State.DEFINED] + n[State.ABSENT],
        )

    @property
    def ended(self) -> int:
        return self.done + self.error + self.expired + self.withdrawn


class Waiting(Submitting, Selecting):
    """Wait for jobs."""

    def wait_for_jobs(
        self,
        ids: Any = None,
        timeout: float | None = None,
        stop_on_error: bool = False,
        stop_on_expire: bool = False,
        progress: bool = True,
    ) -> bool:
        """Wait until jobs have ended; starts a coordinator if none runs.

        Interrupting (Ctrl-C) ends the wait alone: the jobs go on.

        Args:
            ids: Jobs, by default all that are submitted.
            timeout: Seconds after which to give up, with a warning.
            stop_on_error: Return at the first error.
            stop_on_expire: Return when the first job expires, with a warning.
            progress: Show progress on stderr: a bar on a terminal, a line now and then elsewhere.

        Returns:
            Whether all of them are done, without an error.

        Raises:
            CoordinatorFailed: It cannot be started.
            BrokerUnavailable: There is no broker and none can be started.

        Example:
            >>> reg.submit_jobs()
            >>> reg.wait_for_jobs()
            True
        """
        chosen = self._waited_for(ids)
        if not len(chosen):
            return True
        self._ensure_coordinator()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._telling_how_to_come_back(), progress_for(len(chosen), shown=progress) as bar:
            for now in self._looks(chosen, bar):
                if now.ended == now.jobs:
                    return _all_ended(now)
                if stop_on_error and now.error:
                    return False
                if stop_on_expire and now.expired:
                    warn("Jobs disappeared from the system")
                    return False
                if deadline is not None and time.monotonic() >= deadline:
                    warn(
                        f"Timeout reached: {now.jobs - now.ended} of {now.jobs} jobs have not ended"
                    )
                    return False
        raise CoordinatorFailed("the wait ended by itself", remedy="wait again")

    def _waited_for(self, ids: Any) -> Ids:
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids, SUBMITTED)
            unsubmitted = self._states_of(tx, chosen) == State.DEFINED
        if unsubmitted.any():
            warn("Cannot wait for unsubmitted jobs. Removing from ids.")
        waited: Ids = chosen[~unsubmitted]
        return waited

    def _looks(self, ids: Ids, bar: Progress) -> Iterator[_Waited]:
        """Yield how far the jobs are at every look; their states are read again after a change."""
        version = -1
        began = counted = ensured = time.monotonic()
        waited: _Waited | None = None
        told: set[tuple[str, str]] = set()
        while True:
            now, before, version = time.monotonic(), version, self._db.data_version()
            if waited is None or version != before or now - counted > _RECOUNT_SECONDS:
                waited, counted = self._count(ids), now
                bar.show(waited.ended, running=waited.running, failed=waited.error + waited.expired)
            yield waited
            if now - ensured > _ENSURE_SECONDS:
                self._ensure_coordinator()
                self._tell_failing(bar, told)
                self._tell_seat(bar, told)
                ensured = now
            pause = _PAUSE_SHARE * (now - began)
            time.sleep(min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE))

    def _tell_failing(self, bar: Progress, told: set[tuple[str, str]]) -> None:
        """Say once that agents of a pool fail to start, for good or again and again, and why."""
        with self._db.read() as tx:
            failures = launch_failures(tx)
        for failure in failures:
            kind = (failure.pool, failure.last_word)
            if (failure.paused or failure.failures > 1) and kind not in told:
                told.add(kind)
                bar.say(f"Warning: {failing(failure, time.time())}")

    def _tell_seat(self, bar: Progress, told: set[tuple[str, str]]) -> None:
        """Say once where the coordinator is, if a batch system has not started it yet."""
        seat, owner = standing(self.paths), read_owner(self.paths)
        if seat is None or owner.coordinator_alive or owner.beats_elsewhere(time.time()):
            return
        if ("seat", seat.text) not in told:
            told.add(("seat", seat.text))
            bar.say(f"The coordinator {seat.text}")

    def _count(self, ids: Ids) -> _Waited:
        with self._db.read() as tx:
            return _Waited.of(np.asarray(self._states_of(tx, ids)))

    @contextmanager
    def _telling_how_to_come_back(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            sys.stderr.write(
                "\nThe jobs go on. To wait for them again:\n"
                f"    bp.load_registry({str(self.file_dir)!r}).wait_for_jobs()\n"
            )
            raise


def _all_ended(waited: _Waited) -> bool:
    if waited.withdrawn:
        warn(f"{waited.withdrawn} of the jobs were killed, reset or removed meanwhile")
    return waited.done == waited.jobs
