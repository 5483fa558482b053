"""What the jobs of the soak do: nothing, a little, some, much; each result can be checked."""

from __future__ import annotations

import time


LENGTHS = (0.0, 0.0, 0.0005, 0.001, 0.003, 0.01, 0.03, 0.2, 1.0, 4.0)
RARELY = 50
"""One job of so many is longer than 30 ms."""


def length(i: int) -> float:
    """Return the seconds that a job takes."""
    if i % RARELY == 0:
        return LENGTHS[-1 - (i // RARELY) % 3]
    return LENGTHS[i % (len(LENGTHS) - 3)]


def job(i: int) -> tuple[int, int]:
    """Take its time, print a little, return a number that only this job has."""
    time.sleep(length(i))
    print(f"job {i}")
    return i, i * i
