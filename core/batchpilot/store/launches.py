"""Agents that failed to start: the last failure of each pool, kept for those who wonder and wait.

The coordinator notes a failure and forgets it when an agent of the pool is at work; a note older
than `RECENT` seconds says nothing about now, for a pool in trouble is tried at least every minute.
A batch system that does not tell how agents are, or does not cancel them, is noted beside that.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from batchpilot.durations import duration
from batchpilot_broker.paths import RegistryPaths

from .database import Transaction
from .snapshots import reading


RECENT = 600.0
_KEY = "launch_failures"
_Noted = dict[tuple[str, str], "LaunchFailure"]


class Failed(StrEnum):
    """What was tried in vain."""

    START = "start"
    QUERY = "query"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailure:
    """Hold how the agents of a pool failed to start, or what else its batch system did not do.

    Attributes:
        pool: Name of the pool.
        time: Unix time of the last failure.
        failures: How many there were in a row.
        words: Last lines that the last of them wrote, or what the batch system said.
        paused: Whether the pool starts no more until `agents resume`.
        refusals: How many of the failures were requests that a batch system refused.
        until: Unix time before which the pool asks for no more.
        what: What was tried in vain.
        where: What the last of them wrote, below the registry's directory, "" where nothing is.
    """

    pool: str
    time: float
    failures: int
    words: str
    paused: bool = False
    refusals: int = 0
    until: float = 0.0
    what: str = Failed.START
    where: str = ""

    @property
    def last_word(self) -> str:
        """Return the last line that says something; of a traceback that is the error."""
        lines = [line.strip() for line in self.words.splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing"


def launch_failures(tx: Transaction, now: float | None = None) -> list[LaunchFailure]:
    """Return the failures of the last minutes, and those for which a pool is paused, by pool."""
    moment = time.time() if now is None else now
    return [f for f in _noted(tx).values() if f.paused or abs(moment - f.time) <= RECENT]


def last_failure(tx: Transaction, pool: str, what: Failed = Failed.START) -> LaunchFailure | None:
    """Return the last failure of a pool, however old; None where its agents are at work."""
    return _noted(tx).get((pool, what))


def resume_pools(tx: Transaction) -> None:
    """Let pools that are paused, or wait before they try again, start agents now."""
    noted = _noted(tx)
    if noted:
        _keep(tx, {p: replace(f, until=0.0) for p, f in noted.items() if not f.paused})


def read_failures(paths: RegistryPaths) -> list[LaunchFailure]:
    """Return the same of a registry that is not open."""
    database = reading(paths)
    try:
        with database.read() as tx:
            return launch_failures(tx)
    finally:
        database.close()


def failing(failure: LaunchFailure, now: float) -> str:
    """Return what failed, as that agents fail to start, and the last words of the last one."""
    times = "" if failure.failures == 1 else f" {failure.failures} times in a row"
    ago = duration(max(0.0, now - failure.time))
    when = f", {'last ' if failure.failures > 1 else ''}{ago} ago"
    paused = "; the pool is paused until `batchpilot agents resume`" if failure.paused else ""
    what = {
        Failed.START: f"agents of pool {failure.pool} failed to start",
        Failed.QUERY: f"how agents of pool {failure.pool} are was asked, and not answered",
        Failed.CANCEL: f"agents of pool {failure.pool} that are to go were not cancelled",
    }
    return f"{what[Failed(failure.what)]}{times}{when}: {failure.last_word}{paused}"


def note_failure(tx: Transaction, failure: LaunchFailure) -> None:
    """Keep a failure as the last one of its kind and pool."""
    _keep(tx, _noted(tx) | {(failure.pool, failure.what): failure})


def forget_failure(tx: Transaction, pool: str, what: Failed = Failed.START) -> None:
    """Forget the failures of a pool."""
    noted = _noted(tx)
    if noted.pop((pool, what), None) is not None:
        _keep(tx, noted)


def _noted(tx: Transaction) -> _Noted:
    failures = (LaunchFailure(**record) for record in json.loads(tx.meta(_KEY) or "[]"))
    return {(failure.pool, failure.what): failure for failure in failures}


def _keep(tx: Transaction, noted: _Noted) -> None:
    tx.set_meta(_KEY, json.dumps([asdict(failure) for _, failure in sorted(noted.items())]))
