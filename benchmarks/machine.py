"""Name the machine a figure was measured on, read a figure that several need, print all alike."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path


def machine() -> str:
    """Return processor, cores and Python in one line."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    name = names[0] if names else "unknown processor"
    return f"{name}, {cores} cores, Python {platform.python_version()}, load {load:.1f}"


def claimed_at(log: Path) -> float:
    """Return the Unix time of an agent's first claim by its log, 0 where it has none so far.

    The first chunk that it claims makes it start its first template.
    """
    said = re.search(r"^(\S+ \S+),(\d+) \S+ INFO template", log.read_text(), re.MULTILINE)
    if said is None:
        return 0.0
    second = datetime.strptime(said[1], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - logs are in local time
    return second.timestamp() + int(said[2]) / 1000


def show(what: str, values: Sequence[float], unit: str, goal: str) -> None:
    """Print median, least and most of several runs."""
    middle = statistics.median(values)
    spread = f"of {len(values)}: {min(values):,.4g} to {max(values):,.4g}"
    print(f"{what}: median {middle:,.4g} {unit} ({spread}); goal {goal}")
