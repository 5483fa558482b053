"""What the jobs of these tests do. Agents import it by the epoch, so it needs the standard library alone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any


def brief(i: int, seconds: float) -> int:
    """Take some seconds."""
    time.sleep(seconds)
    return i


def brief_or_long(i: int, briefs: int, seconds: float) -> int:
    """Take half a millisecond; the jobs behind take longer, and start a program in a session of its own."""
    if i > briefs:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    return brief(i, seconds if i > briefs else 0.0003)


def gated(i: int, gates: str, job: Any) -> int:
    """Say that this attempt runs, wait until the test lets it go, and return its number."""
    Path(gates, f"began-{job.id}-{job.attempt}").touch()
    while not Path(gates, f"open-{job.id}-{job.attempt}").exists():
        time.sleep(0.005)
    return int(job.attempt)


def gated_or_brief(i: int, first: int, gates: str, job: Any) -> int:
    """Be gated, if one of the first; else take some milliseconds."""
    return gated(i, gates, job) if i <= first else brief(i, 0.003)
