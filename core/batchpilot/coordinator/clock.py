"""The coordinator's clock: Unix time that never goes back and never stands still.

Intervals are reckoned in it and stamps of the database are written in it. A machine's own clock
may be set back, by an hour even; what is due in a second would then be due in an hour and a
second, and the coordinator would do nothing meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class SteadyClock:
    """Follow the wall clock forward; where it is set back, go on by the second.

    Args:
        wall: Unix time.
        monotonic: Gives seconds that never go back.

    Example:
        >>> walls, seconds = iter([5000.0, 1400.0]), iter([1.0, 2.0])
        >>> clock = SteadyClock(lambda: next(walls), lambda: next(seconds))
        >>> clock(), clock()
        (5000.0, 5001.0)
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = float("-inf")

    def __call__(self) -> float:
        """Return the time."""
        seconds = self._monotonic()
        self._ahead = max(self._ahead, self._wall() - seconds)
        return seconds + self._ahead
