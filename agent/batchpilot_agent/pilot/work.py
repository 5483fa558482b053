"""The pilot's bookkeeping of a chunk: which of its jobs are to run, run, or are accounted for.

Three nouns hold it:

    Work     a chunk this agent holds, from its claim until every job in it is accounted for:
             run, lost, cancelled or handed back
    Order    a stretch of its jobs given to one slot process
    Verdict  what is to be written about a running job that the pilot ends
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchpilot_broker.frames import NO_PART
from batchpilot_broker.nouns import Chunk, JobRange, Outcome, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Hold why the pilot ends a job, and what it writes: nothing, a row, or a hand-back.

    Attributes:
        position: 1 + index in its order of the job that is meant; another one is innocent.
        outcome: Outcome of the row, None for no row.
        reason: Reason of the row.
        text: Words for people.
        hand_back: Whether the job is to run again elsewhere, uncharged.
    """

    position: int
    outcome: Outcome | None = None
    reason: Reason = Reason.NONE
    text: str = ""
    hand_back: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """Keep what is still to do of a chunk.

    Attributes:
        chunk: The chunk as it was claimed.
        claimed: When it was claimed (the pilot's clock).
        ids: Its job ids in the order they are to run.
        next: Index of the first job not yet accounted for.
        end: Index behind the last job that is ours to run; shrinks when jobs are handed back.
        skips: Indices of jobs that must not start any more.
        ran: Jobs that were run here.
        seconds: Seconds worked on it.
        begun: Whether its start is written in the segment.
        since: When its first job was seen running (the pilot's clock), 0 before.
        overrun: Whether it has taken longer than its budget.
        out: Whether a slot has an order of it.
    """

    chunk: Chunk
    claimed: float
    ids: list[int] = field(default_factory=list)
    next: int = 0
    end: int = 0
    skips: set[int] = field(default_factory=set)
    ran: int = 0
    seconds: float = 0.0
    begun: bool = False
    since: float = 0.0
    overrun: bool = False
    out: bool = False

    def __post_init__(self) -> None:
        self.ids = self.chunk.ids()
        self.end = len(self.ids)

    @property
    def unaccounted(self) -> bool:
        """Tell whether jobs are left to run."""
        self._pass_skips()
        return self.next < self.end

    @property
    def complete(self) -> bool:
        """Tell whether every job is accounted for."""
        return not self.out and not self.unaccounted

    def stretch(self, most: int) -> tuple[int, int]:
        """Return the next run of jobs to give to a slot, as indices [from, to)."""
        self._pass_skips()
        stop = min(self.end, self.next + most)
        blocked = [index for index in self.skips if self.next <= index < stop]
        return self.next, min(blocked, default=stop)

    def take_back(self, index: int) -> list[int]:
        """Give up the jobs at and behind an index and return the ids of those not cancelled."""
        first = max(index, self.next)
        given = [self.ids[i] for i in range(first, self.end) if i not in self.skips]
        self.end = min(self.end, first)
        return given

    def indices(self, ranges: Iterable[JobRange]) -> list[int]:
        """Return the indices not yet accounted for of the jobs in some ranges."""
        spans = sorted(ranges)
        starts = [first for first, _ in spans]
        found = []
        for index in range(self.next, self.end):
            at = bisect_right(starts, self.ids[index]) - 1
            if at >= 0 and self.ids[index] <= spans[at][1]:
                found.append(index)
        return found

    def _pass_skips(self) -> None:
        while self.next < self.end and self.next in self.skips:
            self.next += 1


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """Keep a stretch of a chunk's jobs that one slot process was given.

    Attributes:
        serial: Number of the order, never used again by this agent.
        work: The chunk they are of.
        first: Index in the chunk of its first job.
        size: Number of jobs.
        sent: When it was given.
        position: Position last seen in the slot's word.
        seen: When the running job began (the pilot's clock), as far as was seen.
        began: Unix time at which it began.
        verdict: What becomes of the running job once the slot is dead.
        peak: Most memory seen of the running job, in bytes.
        mirror: Position of the last part of its log copied while it runs.
        told: (position, mirror) last reported as running.
        devices: Names of the devices its jobs may use.
        variables: What its jobs are to find in their environment.
    """

    serial: int
    work: Work
    first: int
    size: int
    sent: float
    position: int = 0
    seen: float = 0.0
    began: float = 0.0
    verdict: Verdict | None = None
    peak: int = 0
    mirror: int = NO_PART
    told: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def running(self) -> int:
        """Return the id of the running job, 0 when none was seen running."""
        return self.work.ids[self.first + self.position - 1] if self.position else 0

    def message(self) -> list[Any]:
        """Return the order as the slot reads it."""
        chunk = self.work.chunk
        ranges, offsets, pars = cut(self.work, self.first, self.first + self.size)
        return [
            "run",
            self.serial,
            chunk.id,
            chunk.attempt,
            ranges,
            offsets,
            pars,
            str(chunk.isolation),
            chunk.seed,
            dict(chunk.shown),
            dict(self.variables),
        ]


def cut(work: Work, first: int, end: int) -> tuple[list[JobRange], bytes, bytes]:
    """Return the ranges, offsets and parameters of the jobs at indices [first, end) of a chunk."""
    chunk = work.chunk
    if (first, end) == (0, len(work.ids)):
        return list(chunk.ranges), chunk.offsets, chunk.pars
    offsets = memoryview(chunk.offsets).cast("I")[first : end + 1]
    low, high = offsets[0], offsets[-1]
    moved = array("I", [offset - low for offset in offsets])
    return as_ranges(work.ids[first:end]), moved.tobytes(), chunk.pars[low:high]


def as_ranges(ids: Sequence[int]) -> list[JobRange]:
    """Return job ids, in their order, as the fewest ranges.

    Example:
        >>> as_ranges([3, 4, 5, 9, 1])
        [(3, 5), (9, 9), (1, 1)]
    """
    ranges: list[JobRange] = []
    for job in ids:
        if ranges and ranges[-1][1] + 1 == job:
            ranges[-1] = (ranges[-1][0], job)
        else:
            ranges.append((job, job))
    return ranges
