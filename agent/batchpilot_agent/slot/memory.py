"""The peak memory of one job in a slot that runs many.

It is that of the whole process, interpreter and libraries included. A kernel that cannot begin a
measurement anew gives the slot's peak so far, a bound from above.
"""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path


_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")


class PeakMemory:
    """Measure the peak of this process, or of a child that was larger, since the last `reset`."""

    def __init__(self) -> None:
        self._children = 0

    def reset(self) -> None:
        """Begin to measure."""
        with suppress(OSError):  # not every kernel has it; a job is not to fail for a measurement
            Path("/proc/self/clear_refs").write_text("5")  # the kernel's word for: peak = now
        self._children = _largest_child()

    def peak(self) -> float:
        """Return the peak in MB."""
        found = _PEAK.search(Path("/proc/self/status").read_bytes())
        own = int(found[1]) if found else 0
        children = _largest_child()
        return max(own, children if children > self._children else 0) / 1024


def _largest_child() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
