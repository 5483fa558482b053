"""What the jobs of the tests of submissions do: stored with each submission, imported by agents."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


MET_SECONDS = 60.0

_kept: list[bytes] = []


def traced(i: int, seconds: float) -> tuple[float, float, int]:
    """Take some seconds; return from when until when, and the slot's process."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic(), os.getpid() * (i > 0)


def meeting(i: int, first: list[int], place: str, seconds: float) -> tuple[float, float, int]:
    """Be traced, and begin with a wait for the first jobs of all chunks where this is one."""
    began = time.monotonic()
    if i in first:
        Path(place, f"met-{i}").touch()
    others = [Path(place, f"met-{job}") for job in first if i in first]
    while not all(path.exists() for path in others) and time.monotonic() - began < MET_SECONDS:
        time.sleep(0.005)
    _, ended, process = traced(i, seconds)
    return began, ended, process


def gated(i: int, gates: str, job: Any) -> int:
    """Say that this attempt runs, and wait until the test lets it go."""
    Path(gates, f"began-{i}-{job.attempt}").touch()
    while not Path(gates, f"open-{i}").exists():
        time.sleep(0.005)
    return int(job.attempt)


def hungry(i: int, megabytes: int, job: Any) -> dict[str, Any]:
    """Use some memory for longer than it takes to notice it, whenever that is if it is too much."""
    _kept.append(b"x" * (megabytes << 20))
    time.sleep(60 if megabytes > job.resources["memory"] else 1.5)
    return {"i": i, "attempt": job.attempt, "memory": job.resources["memory"]}


def slow(i: int, seconds: list[float], job: Any) -> dict[str, Any]:
    """Take some seconds, in each attempt others."""
    time.sleep(seconds[job.attempt - 1])
    return {"i": i, "attempt": job.attempt, "walltime": job.resources["walltime"]}


def brittle(i: int, good: int, job: Any) -> tuple[int, int, int]:
    """Fail until a certain attempt; return the attempt, the seed and a draw."""
    if job.attempt < good:
        raise ValueError(f"job {i} is not ready")
    return job.attempt, job.seed, int(job.rng.integers(1 << 30))


def failing(i: int, fail: bool) -> int:
    """Fail, or return the parameter."""
    if fail:
        raise ValueError("no answer")
    return i


def told(i: int, job: Any) -> tuple[int, dict[str, Any]]:
    """Return what the job is told of its resources."""
    return i, dict(job.resources)


def mortal(i: int, gates: str, job: Any) -> tuple[float, float, int]:
    """Be gated in the first attempt of a certain job; tell when it ran."""
    began = time.monotonic()
    if job.attempt == 1 and i == 2:
        gated(i, gates, job)
    time.sleep(0.05)
    return began, time.monotonic(), i
