"""Run one job of an order: perform, record, give the process back.

A job is *finished* when its record is in the segment; its log is there before. Whatever the
user's function does - raise, exit, return what cannot be pickled, ask to be handed back - ends in
one record or in one HANDED_BACK frame, and the next job finds the process as this one did. Every
line here is paid by each of a million jobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgpack

from batchpilot_agent.failures import describe
from batchpilot_agent.job import HandBack
from batchpilot_agent.segments import SegmentWriter
from batchpilot_broker.frames import Kind, pack_frame, pack_row
from batchpilot_broker.nouns import Outcome

from .capture import Capture
from .epoch import Loaded
from .memory import PeakMemory
from .order import Order
from .performing import make_performer
from .restore import Snapshot
from .seeds import Seeder
from .values import ResultPickler, ValueReader


HANDED_BACK = "handed back"
"""Reason in the frame, and why the slot leaves: what the signal interrupted is unknown."""

_DONE, _ERROR = int(Outcome.DONE), int(Outcome.ERROR)
_now, _getpid = time.time, os.getpid


class Execution:
    """Run the jobs of one epoch in this process; what performs them is chosen once.

    Args:
        epoch: What to call.
        registry: The registry's directory.
        slot: Number of the slot, for the records.
        values: Reads parameters.
        results: The result segment.
        capture: Takes the output.
        seeder: Seeds the generators.
    """

    def __init__(  # noqa: PLR0913 - it is where the parts of a slot meet
        self,
        *,
        epoch: Loaded,
        registry: Path,
        slot: int,
        values: ValueReader,
        results: SegmentWriter,
        capture: Capture,
        seeder: Seeder,
    ) -> None:
        self._slot = slot
        self._pid = _getpid()
        self._dumps = ResultPickler().dumps
        self._write = results.write
        self._take = capture.take
        performer = make_performer(epoch, registry, values, seeder)
        self._perform = performer.perform
        self._memory = PeakMemory()
        self._snapshot = Snapshot()
        self._quiet = self._snapshot.quiet
        self._restore = self._snapshot.restore
        self._left_running = self._snapshot.left_running
        self._left_behind = performer.leaving(self._snapshot.left_behind)

    def run(self, order: Order, index: int, begun: float) -> str:
        """Run one job; return why this process cannot run another, "" where it can."""
        job = order.ids[index]
        if order.measure:
            self._memory.reset()
        outcome, body = self._attempt(order, index, job)
        if _getpid() != self._pid:
            os._exit(0)  # a child that the job has forked and let return: no slot
        ended = _now()
        running = self._left_running(ended - begun)
        memory = self._memory.peak() if order.measure else 0.0
        position, size = self._take(job, order.attempt)
        if outcome:
            row = (job, order.attempt, outcome, 0, self._slot, size, begun, ended, position, memory)
            self._write(pack_row(row, body))
        else:
            self._write(pack_frame(Kind.HANDED_BACK, body))
            return HANDED_BACK
        self._restore()
        return running or self._left_behind(ended - begun)

    def assume(self, variables: Mapping[str, str]) -> None:
        """Let the jobs to come find some variables in their environment."""
        if variables:
            self._snapshot.assume(variables)

    def settle(self) -> str:
        """Ask the dear questions at the end of an order; return why this process must go, or ""."""
        return self._snapshot.left_behind_dear()

    def close(self) -> None:
        """Let go of this process; no other job is run."""
        self._snapshot.close()

    def _attempt(self, order: Order, index: int, job: int) -> tuple[int, bytes]:
        """Call the function and return (outcome, body); outcome 0 is a job handed back."""
        try:
            try:
                return _DONE, self._dumps(self._perform(order, index, job))
            finally:
                self._quiet()  # no handler of the user's interrupts what follows
        except HandBack:
            return 0, msgpack.packb([order.chunk, [[job, job]], HANDED_BACK, False])
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            self._quiet()
            return _ERROR, describe(error).to_body()
