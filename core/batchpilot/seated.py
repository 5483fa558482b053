"""`python -m batchpilot.seated DIR ALLOCATION`: supervise in an allocation of a batch system.

begin       the seat names this allocation, else leave
show        write sitter.json; whoever supervises elsewhere sees that and leaves in order
take over   where another host owns the registry: when it has been silent, as any host does
supervise   broker and coordinator, until there is nothing to do, the end, or a successor
chain       while jobs are unfinished, submit a successor well before the walltime ends, and
            another one where that has ended in the queue
leave       end coordinator and broker, cancel the successor where nothing is left to do, and say
            so in sitter.json
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from batchpilot_agent.signals import TOLD_TO_GO
from batchpilot_broker.host import host_name, seconds_since_start
from batchpilot_broker.journal import start_log
from batchpilot_broker.paths import RegistryPaths

from . import control
from .elsewhere import Elsewhere
from .errors import AlreadyOwned, BatchpilotError
from .monitoring import log_format_in, registry_id
from .seat import Seat, Sitter, read_seat, relief, write_record
from .seating import ASK_EVERY, TROUBLE, Seating
from .store.owner import read_owner
from .store.snapshots import Snapshot, reading
from .supervisor import SUPERSEDED, Supervisor


LEAST_LEAD = 600.0
LEAD_SHARE = 0.1
PAUSES = (60.0, 120.0, 300.0, 600.0)
LOOK_PAUSE = 0.5
GRACE = 5.0
"""Seconds for the coordinator to leave: some batch systems kill all 10 s after the first signal."""

_log = logging.getLogger("batchpilot.supervisor")


def lead_of(walltime: float) -> float:
    """Return how long before the end of a walltime the successor is submitted.

    Example:
        >>> lead_of(86400.0), lead_of(3600.0), lead_of(600.0)
        (8640.0, 600.0, 300.0)
    """
    return min(max(LEAST_LEAD, LEAD_SHARE * walltime), walltime / 2)


class Chain:
    """See that an allocation whose walltime is about to end has a successor.

    Args:
        seat: The allocation.
        seating: Submits, asks, cancels.
        unfinished: Tells whether jobs are unfinished.
        clock: Gives seconds that never go back.
        age: Seconds for which the allocation runs already.
    """

    def __init__(
        self,
        seat: Seat,
        seating: Seating,
        unfinished: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        age: float = 0.0,
    ) -> None:
        self._seat = seat
        self._seating = seating
        self._unfinished = unfinished
        self._clock = clock
        self._due = clock() - age + seat.walltime - lead_of(seat.walltime)
        self._troubles = 0
        self.successor: Seat | None = None

    def tick(self) -> None:
        """Submit it in time, look at it once a minute, submit another one where it has ended."""
        if self._clock() < self._due:
            return
        try:
            self._see_to_it()
        except TROUBLE as error:
            self._pause(str(error))

    def withdraw(self) -> None:
        """Cancel it, where nothing is left for it to do."""
        successor = self.successor
        try:
            if successor is not None and not self._unfinished():
                self._seating.withdraw(successor, self._seat)
        except TROUBLE as error:
            _log.error("the successor is not cancelled: %s", error)

    def _see_to_it(self) -> None:
        if self.successor is None:
            if self._unfinished():
                self.successor = self._seating.succeed(self._seat)
                self._due = self._clock() + ASK_EVERY
                _log.info("the successor was submitted as %s", self.successor.job)
            return
        self._due = self._clock() + ASK_EVERY
        if self._seating.has_ended(self.successor):
            self._seating.withdraw(self.successor, self._seat)
            self._pause(f"{self.successor.job} has ended")
            self.successor = None

    def _pause(self, why: str) -> None:
        pause = PAUSES[min(self._troubles, len(PAUSES) - 1)]
        self._troubles += 1
        self._due = self._clock() + pause
        _log.error("the successor is seen to again in %.0f s: %s", pause, why)


class Seated:
    """Supervise in an allocation, from its begin to its end.

    Args:
        paths: The registry's files.
        allocation: The allocation.
        words: Options for the coordinators.
    """

    def __init__(self, paths: RegistryPaths, allocation: str, words: list[str]) -> None:
        self._paths = paths
        self._allocation = allocation
        self._relieved = relief(paths, allocation)
        self._supervisor = Supervisor(
            paths,
            [*words, "--seat", allocation],
            relieved=self._look,
            waits=True,
            grace=GRACE,
        )
        self._chain: Chain | None = None
        self._stopped = False

    def stop(self) -> None:
        """Leave in order."""
        self._stopped = True
        self._supervisor.stop()

    def run(self) -> int:
        """Do all of it; return the exit code."""
        seat = read_seat(self._paths)
        if seat is None or seat.allocation != self._allocation:
            _log.info("the seat is not this allocation's; nothing is to be done here")
            return 0
        self._chain = Chain(
            seat,
            Seating(self._paths),
            lambda: has_unfinished(self._paths),
            age=seconds_since_start(),
        )
        sitter = Sitter(host=host_name(), pid=os.getpid(), began=time.time())
        write_record(self._paths.sitter(self._allocation), sitter)
        left, failed = "it failed", True
        try:
            status = self._supervise()
            left, failed = self._why(status), status not in (0, SUPERSEDED)
        except BatchpilotError as error:
            left = error.message
            raise
        else:
            return status
        finally:
            sitter = replace(sitter, left=left, failed=failed and not self._stopped)
            write_record(self._paths.sitter(self._allocation), sitter)
            if not self._relieved():
                self._chain.withdraw()

    def _supervise(self) -> int:
        """Supervise once this host owns the registry, and leave nothing behind."""
        if not self._own():
            return 0
        try:
            return self._supervisor.run()
        finally:
            control.stop_broker(self._paths)

    def _why(self, status: int) -> str:
        """Return why it leaves."""
        if self._stopped:
            return "told to leave"
        if status:
            return f"exit code {status}"
        return "another one took its place" if self._relieved() else "nothing was left to do"

    def _own(self) -> bool:
        """Wait until this host owns the registry; tell whether to go on then."""
        while not (self._stopped or self._relieved()):
            if read_owner(self._paths).here:
                return True
            self._take_over_in_time()
        return False

    def _take_over_in_time(self) -> None:
        """Take over from another host when it has been silent for long enough."""
        elsewhere = Elsewhere(self._paths, Snapshot(self._paths))
        try:
            _log.info("this host takes over when %s is silent", elsewhere.host)
            while not (self._stopped or self._relieved()):
                if not elsewhere.lives():
                    elsewhere.take_over()
                    return
                time.sleep(LOOK_PAUSE)
        except AlreadyOwned as error:
            _log.info("%s", error)
        finally:
            elsewhere.close()

    def _look(self) -> bool:
        """Tell whether another supervisor is to go on; do what is due where this one is."""
        relieved = self._relieved()
        if self._chain is not None and not relieved:
            self._chain.tick()
        return relieved


def has_unfinished(paths: RegistryPaths) -> bool:
    """Tell whether a submitted job has not ended."""
    database = reading(paths)
    try:
        with database.read() as tx:
            held = int(tx.execute("held_left").fetchone()[0])
            return held + sum(int(n) for _, n in tx.all("unfinished_by_class")) > 0
    finally:
        database.close()


def main() -> int:
    """Supervise a registry in an allocation, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m batchpilot.seated")
    parser.add_argument("directory", type=Path)
    parser.add_argument("allocation")
    parser.add_argument("--element", help="as job scripts name it")
    options, words = parser.parse_known_args()
    os.chdir("/")
    paths = RegistryPaths(options.directory)
    log_format = log_format_in(words)
    start_log(log_format, "%(asctime)s %(name)s %(message)s", registry=registry_id(paths))
    try:
        seated = Seated(paths, options.allocation, words)
        for number in TOLD_TO_GO:
            signal.signal(number, lambda *_: seated.stop())
        return seated.run()
    except BatchpilotError as error:
        _log.error("%s", error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
