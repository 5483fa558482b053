"""Agents that failed to start: the last failure of each pool, kept for those who wonder and wait.

The coordinator notes a failure and forgets it when an agent of the pool is at work; a note older
than `RECENT` seconds says nothing about now, for a pool in trouble is tried at least every minute.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from batchpilot.durations import duration
from batchpilot_broker.paths import RegistryPaths

from .database import Transaction
from .snapshots import reading


RECENT = 600.0
_KEY = "launch_failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailure:
    """Hold how the agents of a pool failed to start.

    Attributes:
        pool: Name of the pool.
        time: Unix time of the last failure.
        failures: How many there were in a row.
        words: Last lines that the last of them wrote, or what the batch system said.
        paused: Whether the pool starts no more until `agents resume`.
    """

    pool: str
    time: float
    failures: int
    words: str
    paused: bool = False

    @property
    def last_word(self) -> str:
        """Return the last line that says something; of a traceback that is the error."""
        lines = [line.strip() for line in self.words.splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing"


def launch_failures(tx: Transaction, now: float | None = None) -> list[LaunchFailure]:
    """Return the failures of the last minutes, and those for which a pool is paused, by pool."""
    oldest = (time.time() if now is None else now) - RECENT
    return [f for f in _noted(tx).values() if f.paused or f.time >= oldest]


def paused_pools(tx: Transaction) -> set[str]:
    """Return the pools that start no agents until they are resumed."""
    return {failure.pool for failure in _noted(tx).values() if failure.paused}


def resume_pools(tx: Transaction) -> None:
    """Let paused pools start agents again."""
    noted = _noted(tx)
    if any(failure.paused for failure in noted.values()):
        _keep(tx, {pool: failure for pool, failure in noted.items() if not failure.paused})


def hold_agents(tx: Transaction, *, stopped: bool) -> None:
    """Let no agents be started until they are resumed; or resume them, and paused pools too."""
    tx.set_meta("agents_stopped", int(stopped))
    if not stopped:
        resume_pools(tx)


def read_failures(paths: RegistryPaths) -> list[LaunchFailure]:
    """Return the same of a registry that is not open."""
    database = reading(paths)
    try:
        with database.read() as tx:
            return launch_failures(tx)
    finally:
        database.close()


def failing(failure: LaunchFailure, now: float) -> str:
    """Return that agents fail to start, and the last words of the last one."""
    times = "" if failure.failures == 1 else f" {failure.failures} times in a row"
    when = f", {'last ' if failure.failures > 1 else ''}{duration(now - failure.time)} ago"
    paused = "; the pool is paused until `batchpilot agents resume`" if failure.paused else ""
    return (
        f"agents of pool {failure.pool} failed to start{times}{when}: {failure.last_word}{paused}"
    )


def note_failure(tx: Transaction, failure: LaunchFailure) -> None:
    """Keep a failure as the last one of its pool."""
    _keep(tx, _noted(tx) | {failure.pool: failure})


def forget_failure(tx: Transaction, pool: str) -> None:
    """Forget the failures of a pool."""
    noted = _noted(tx)
    if noted.pop(pool, None) is not None:
        _keep(tx, noted)


def _noted(tx: Transaction) -> dict[str, LaunchFailure]:
    return {record["pool"]: LaunchFailure(**record) for record in json.loads(tx.meta(_KEY) or "[]")}


def _keep(tx: Transaction, noted: dict[str, LaunchFailure]) -> None:
    tx.set_meta(_KEY, json.dumps([asdict(failure) for _, failure in sorted(noted.items())]))
