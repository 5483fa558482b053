"""The soak: jobs of mixed lengths for a long time, while all that can die is killed at random.

    make soak                          30 minutes
    SOAK_MINUTES=5 make soak           fewer
    SOAK_SEED=123 make soak            the same moments again

Prints the ledger; the exit code is 1 where a job was lost, counted twice or has a wrong result.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

import psutil
from tests.conftest import wait_until
from tests.end_to_end.conftest import MakeStudy, processes_of

import batchpilot as bp
from batchpilot import control
from batchpilot.errors import BatchpilotError

from . import work
from .books import Books
from .chaos import Chaos


DEFINED = 400_000
BATCH = 500
"""Jobs submitted at once, while fewer than twice as many are unfinished."""

PAUSES = (0.5, 6.0)
RECOVERED = 20
"""Jobs that end after something was broken, until it counts as recovered."""

PATIENCE = 150.0
WEIGHED_EVERY = 15.0
LAST_WAIT = 300.0
STOPPED_WITHIN = 30.0
LONG = 15.0


class Soak:
    """Submit, break, count, until the time is over.

    Args:
        registry: The registry.
        minutes: How long.
        seed: Of all that is random.
    """

    def __init__(self, registry: bp.Registry, minutes: float, seed: int) -> None:
        self.registry = registry
        self.until = time.monotonic() + 60 * minutes
        self.moments = random.Random(seed)  # noqa: S311 - no secret is made of it
        self.chaos = Chaos(registry, self.moments, longest=130.0 if minutes >= LONG else 20.0)
        self.books = Books(registry)
        self._next = 1
        self._weighed = 0.0
        self._broken: tuple[str, float, int] | None = None
        self._strike = time.monotonic() + 5.0

    def run(self) -> list[str]:
        """Do all; return the faults."""
        self.registry.batch_map(work.job, i=range(1, DEFINED + 1))
        try:
            while time.monotonic() < self.until:
                self._turn()
                time.sleep(0.1)
        finally:
            self.chaos.wake()
        self._say("no more is broken; the rest is waited for")
        self._finish()
        self.books.weigh()
        return self.books.faults()

    def _turn(self) -> None:
        now = time.monotonic()
        ended = self._ended()
        self._look_for_recovery(now, ended)
        if self._broken is None and now >= self._strike:
            name = self.chaos.strike()
            if name:
                self._broken = (name, now, ended)
            self._strike = now + self.moments.uniform(*PAUSES)
        if len(self.books.submitted) - ended < 2 * BATCH:
            self._submit()
        if now - self._weighed > WEIGHED_EVERY:
            self._weighed = now
            self._say(f"{ended:,} ended; MB: {self.books.weigh()}")
        self._ensure()

    def _look_for_recovery(self, now: float, ended: int) -> None:
        if self._broken is None:
            return
        name, since, before = self._broken
        if ended >= before + RECOVERED:
            self.books.recoveries[name].append(now - since)
            self._broken = None
        elif now - since > PATIENCE:
            raise SystemExit(f"not recovered within {PATIENCE:.0f} s of {name}")

    def _submit(self) -> None:
        batch = range(self._next, self._next + BATCH)
        self.registry.submit_jobs(batch)
        self.books.submitted.update(batch)
        self._next += BATCH
        if self.moments.random() < 0.3:
            self._take_back()

    def _take_back(self) -> None:
        """Kill a few jobs, wherever they are, and submit some of them again."""
        some = self.moments.sample(sorted(self.books.submitted)[-BATCH:], 20)
        killed = list(self.registry.kill_jobs(some))
        again = killed[::2]
        if again:
            self.registry.submit_jobs(again)
        self.books.submitted.difference_update(set(killed) - set(again))

    def _ended(self) -> int:
        status = self.registry.get_status()
        return status.done + status.error + status.expired

    def _ensure(self) -> None:
        """Do what a session that waits does: see that somebody is in office."""
        try:
            control.ensure(self.registry.paths)
        except BatchpilotError as error:
            self._say(f"not ensured: {error}")

    def _finish(self) -> None:
        deadline = time.monotonic() + LAST_WAIT
        while time.monotonic() < deadline and not self.registry.wait_for_jobs(
            timeout=20, progress=False
        ):
            if not self.registry.get_status().system:
                return

    def _say(self, words: str) -> None:
        left = max(0.0, self.until - time.monotonic())
        print(f"{left / 60:5.1f} min left: {words}", flush=True)


def _stop(registry: bp.Registry) -> list[str]:
    """Stop all daemons; return what is left of them."""
    control.stop(registry.paths)
    deadline = time.monotonic() + STOPPED_WITHIN
    while processes_of(registry.paths) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = []
    for process in processes_of(registry.paths):
        with suppress(psutil.Error):
            left.append(f"left running: {process.pid} {process.status()} {process.cmdline()}")
    return left


def main() -> int:
    """Run the soak; return the exit code."""
    minutes = float(os.environ.get("SOAK_MINUTES", "30"))
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"{minutes:g} minutes, SOAK_SEED={seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    make = MakeStudy(root, wait_until)
    pool = bp.pools.Local(slots=2, min_agents=2, max_agents=2)
    registry = make("registry", pool=pool)
    soak = Soak(registry, minutes, seed)
    faults = ["it did not come to its end"]
    try:
        faults = soak.run()
        print(soak.books.tell(soak.chaos.done))
    finally:
        faults += _stop(registry)
        with redirect_stdout(io.StringIO()):  # what the daemons said is in the registry's logs
            make.end()
        if faults:
            print(f"FAILED; the registry is left in {root}", *faults, sep="\n  ")
        else:
            shutil.rmtree(root)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
