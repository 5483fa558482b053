"""Count what the bus tells. Ended jobs are not among it: see `outcomes`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from batchpilot.coordinator.happenings import (
    AgentEnded,
    AgentSeen,
    ChunksFed,
    EventsApplied,
    Happening,
    JobsRequeued,
    LaunchFailed,
    Rejected,
    SchedulerCalled,
)

from .catalogue import (
    AGENTS_ENDED,
    AGENTS_STARTED,
    APPLY_SECONDS,
    CHUNKS_FED,
    ENDINGS,
    EVENTS_APPLIED,
    EVENTS_REJECTED,
    JOBS_FED,
    JOBS_REQUEUED,
    LAUNCH_FAILURES,
    SCHEDULER_CALLS,
    SCHEDULER_SECONDS,
)
from .snapshot import Places
from .totals import Totals


class Counting:
    """Count happenings.

    Args:
        totals: Where they are counted.
        place: Gives the labels of pools as they are now.
    """

    def __init__(self, totals: Totals, place: Callable[[], Places]) -> None:
        self.totals = totals
        self._place = place

    def __call__(self, happening: Happening) -> None:
        """Count a happening."""
        match happening:
            case ChunksFed(class_id, chunks, jobs):
                label = self.totals.bounded("class", class_id)
                self.totals.add(CHUNKS_FED, (label,), chunks)
                self.totals.add(JOBS_FED, (label,), jobs)
            case JobsRequeued(reason, jobs):
                word = self.totals.bounded("reason", reason.replace(" ", "_"))
                self.totals.add(JOBS_REQUEUED, (word,), jobs)
            case Rejected(what, count):
                word = what.split(" in ")[0].replace(" ", "_")
                self.totals.add(EVENTS_REJECTED, (self.totals.bounded("what", word),), count)
            case EventsApplied(events, seconds):
                self.totals.add(EVENTS_APPLIED, (), events)
                self.totals.observe(APPLY_SECONDS, (), np.array([seconds]))
            case _:
                self._count_agents(happening)

    def begin(self) -> None:
        """Bring into being, as 0, what is counted of each pool."""
        for where in self._place().all():
            self.totals.add(AGENTS_STARTED, where, 0)
            self.totals.add(LAUNCH_FAILURES, where, 0)
            for ending in ENDINGS:
                self.totals.add(AGENTS_ENDED, (*where, ending), 0)

    def _count_agents(self, happening: Happening) -> None:
        match happening:
            case AgentSeen(_, pool):
                self.totals.add(AGENTS_STARTED, self._place()(pool))
            case AgentEnded(_, pool, reason) if pool:
                self.totals.add(AGENTS_ENDED, (*self._place()(pool), reason))
            case LaunchFailed(pool, _):
                self.totals.add(LAUNCH_FAILURES, self._place()(pool))
            case SchedulerCalled(kind, command, seconds, ok):
                for outcome, count in (("ok", ok), ("failed", not ok)):
                    self.totals.add(SCHEDULER_CALLS, (kind, command, outcome), int(count))
                self.totals.observe(SCHEDULER_SECONDS, (kind, command), np.array([seconds]))
            case _:
                pass  # told to others
