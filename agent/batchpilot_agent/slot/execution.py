"""Run one job of an order: seed, call, record, give the process back.

A job is *finished* when its record is in the segment; its log is there before. Whatever the
user's function does - raise, exit, return what cannot be pickled, ask to be handed back - ends in
one record or in one HANDED_BACK frame, and the next job finds the process as this one did. Every
line here is paid by each of a million jobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from batchpilot_agent.failures import describe
from batchpilot_agent.job import HandBack, Job
from batchpilot_agent.segments import SegmentWriter
from batchpilot_broker.frames import Kind, pack_frame, pack_row
from batchpilot_broker.nouns import Isolation, Outcome

from .capture import Capture
from .epoch import LoadedEpoch
from .memory import PeakMemory
from .restore import Snapshot
from .seeds import Seeder, job_seed
from .values import ResultPickler, ValueReader


HANDED_BACK = "handed back"
"""Reason in the frame, and why the slot leaves: what the signal interrupted is unknown."""

_DONE, _ERROR = int(Outcome.DONE), int(Outcome.ERROR)
_now, _getpid = time.time, os.getpid


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Hold what the pilot tells a slot to run: a chunk, or the rest of one.

    Attributes:
        serial: Number of the order.
        chunk: Number of the chunk.
        attempt: Attempt of every job in it.
        ids: Job ids in the order to run.
        offsets: Where each job's parameters begin in `pars`; one more than jobs.
        pars: The jobs' parameters, one pickle each, end to end.
        isolation: Whether a process runs one job or many.
        seed: The registry's seed.
        shown: Resources as the user gave them.
        measure: Whether peak memory is recorded.
        variables: What its jobs find in their environment, such as the devices that are theirs.
    """

    serial: int
    chunk: int
    attempt: int
    ids: tuple[int, ...]
    offsets: memoryview
    pars: memoryview
    isolation: Isolation
    seed: int
    shown: Mapping[str, Any]
    measure: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_message(cls, message: list[Any]) -> Order:
        """Return the order in a pilot's "run" message."""
        _, serial, chunk, attempt, ranges, offsets, pars, isolation, seed, shown, extra = message
        return cls(
            serial=serial,
            chunk=chunk,
            attempt=attempt,
            ids=tuple(job for first, last in ranges for job in range(first, last + 1)),
            offsets=memoryview(offsets).cast("I"),
            pars=memoryview(pars),
            isolation=Isolation(isolation),
            seed=seed,
            shown=shown,
            measure=bool(shown.get("measure_memory")),
            variables=extra,
        )


class Execution:
    """Run the jobs of one epoch in this process.

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
        epoch: LoadedEpoch,
        registry: Path,
        slot: int,
        values: ValueReader,
        results: SegmentWriter,
        capture: Capture,
        seeder: Seeder,
    ) -> None:
        self._epoch = epoch
        self._registry = registry
        self._slot = slot
        self._pid = _getpid()
        self._read = values.read
        self._dumps = ResultPickler().dumps
        self._write = results.write
        self._take = capture.take
        self._seed = seeder.seed
        self._call = epoch.call
        self._passes_job = epoch.passes_job
        self._memory = PeakMemory()
        self._snapshot = Snapshot()
        self._quiet = self._snapshot.quiet
        self._restore = self._snapshot.restore
        self._left_running = self._snapshot.left_running
        self._left_behind = self._snapshot.left_behind

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
                self._seed(job_seed(order.seed, job))
                values = self._read(order.pars[order.offsets[index] : order.offsets[index + 1]])
                noun = self._job(order, job, values) if self._passes_job else None
                return _DONE, self._dumps(self._call(values, noun))
            finally:
                self._quiet()  # no handler of the user's interrupts what follows
        except HandBack:
            return 0, msgpack.packb([order.chunk, [[job, job]], HANDED_BACK, False])
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            self._quiet()
            return _ERROR, describe(error).to_body()

    def _job(self, order: Order, job: int, values: tuple[Any, ...]) -> Job:
        return Job(
            id=job,
            attempt=order.attempt,
            pars=dict(zip(self._epoch.names, values, strict=True)),
            resources=order.shown,
            seed=job_seed(order.seed, job),
            stream=(order.seed, (0, job)),
            registry=self._registry,
        )
