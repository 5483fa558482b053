"""What the jobs of these tests do. Agents import it by the epoch, so it needs the standard library alone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any


def short(i: int) -> int:
    """Take less than a millisecond."""
    time.sleep(0.0003)
    return i


def short_or_long(i: int, every: int, seconds: float) -> int:
    """Be short, but for one job in so many: that is long, and leaves a program in a session of its own."""
    if i % every:
        return short(i)
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(seconds)
    return i


def gated(i: int, gates: str, job: Any) -> int:
    """Say that this attempt runs, wait until the test lets it go, and return its number."""
    Path(gates, f"began-{job.id}-{job.attempt}").touch()
    while not Path(gates, f"open-{job.id}-{job.attempt}").exists():
        time.sleep(0.005)
    return int(job.attempt)
