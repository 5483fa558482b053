"""Name the machine a figure was measured on, and print figures in one form."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
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


def show(what: str, values: Sequence[float], unit: str, goal: str) -> None:
    """Print median, least and most of several runs."""
    middle = statistics.median(values)
    spread = f"of {len(values)}: {min(values):,.4g} to {max(values):,.4g}"
    print(f"{what}: median {middle:,.4g} {unit} ({spread}); goal {goal}")
