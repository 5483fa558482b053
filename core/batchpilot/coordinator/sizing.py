"""How many jobs go into a chunk: pure arithmetic on observed run times.

Until a run time is known, chunks hold one job. Then they are cut to about clamp(slots / 500,
0.75, 60) seconds of work, at most eight times what was last seen to work and at most 4096 jobs,
and smaller towards the end, so that all slots finish together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf


LARGEST = 4096
GROWTH = 8
SMOOTHING = 0.3
SHORTEST_WORK = 0.02
LONG_JOB = 1.0


@dataclass(slots=True)
class Sizer:
    """Learn run times by class and cut chunks to them."""

    _seconds: dict[str, float] = field(default_factory=dict)
    _ceiling: dict[str, int] = field(default_factory=dict)

    def observe(self, class_id: str, seconds: float, jobs: int) -> None:
        """Learn from a chunk that ended after this many seconds and jobs."""
        if jobs < 1 or not 0.0 <= seconds < inf:
            return
        each = max(seconds / jobs, 1e-7)
        known = self._seconds.get(class_id)
        self._seconds[class_id] = each if known is None else known + SMOOTHING * (each - known)
        ceiling = self._ceiling.get(class_id, 1)
        self._ceiling[class_id] = max(ceiling, min(LARGEST, GROWTH * jobs))

    def expected(self, class_id: str) -> float | None:
        """Return the expected run time of a job in seconds, None while unknown."""
        return self._seconds.get(class_id)

    def is_learning(self, class_id: str, slots: int) -> bool:
        """Tell whether chunks are still smaller than they should be: it is early to feed ahead."""
        wanted = target_seconds(slots) / self._seconds[class_id]
        return self._ceiling[class_id] < min(wanted, LARGEST)

    def size(self, class_id: str, remaining: int, slots: int) -> int:
        """Return the number of jobs for the next chunk."""
        seconds = self._seconds.get(class_id)
        if seconds is None:
            return 1
        by_time = target_seconds(slots) / seconds
        by_tail = max(remaining / (2 * slots), SHORTEST_WORK / seconds)
        return max(1, int(min(by_time, by_tail, self._ceiling[class_id], LARGEST)))

    def budget(self, class_id: str, size: int, slots: int) -> float:
        """Return the seconds after which an agent hands back what it has not started."""
        expected = (self._seconds.get(class_id) or 0.0) * size
        return max(1.0, 2 * expected, 2 * target_seconds(slots))


def target_seconds(slots: int) -> float:
    """Return the seconds of work that a chunk should hold."""
    return min(max(slots / 500, 0.75), 60.0)
