"""How many jobs stand where, in one record that prints as batchtools prints it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Count the jobs of a registry by what has become of them.

    Attributes:
        defined: All jobs.
        submitted: Jobs handed in, ended ones included.
        started: Jobs that began to run, ended ones included.
        done: Jobs that returned a result.
        error: Jobs whose function raised.
        queued: Jobs submitted and not started.
        running: Jobs that run now.
        expired: Jobs that ended without an outcome of their function.
        system: Jobs queued or running.
        at: Unix time of the count.
    """

    defined: int = 0
    submitted: int = 0
    started: int = 0
    done: int = 0
    error: int = 0
    queued: int = 0
    running: int = 0
    expired: int = 0
    system: int = 0
    at: float = field(default_factory=time.time, compare=False, repr=False)

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "at"}

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))
        lines = (
            ("Submitted    ", self.submitted),
            ("-- Queued    ", self.queued),
            ("-- Started   ", self.started),
            ("---- Running ", self.running),
            ("---- Done    ", self.done),
            ("---- Error   ", self.error),
            ("---- Expired ", self.expired),
        )
        width = len(str(self.defined))
        return "\n".join(
            [
                f"Status for {self.defined} jobs at {when}:",
                *(f"  {label}: {n:>{width}} ({self._share(n):5.1f}%)" for label, n in lines),
            ]
        )

    def _share(self, count: int) -> float:
        return 100 * count / self.defined if self.defined else 0.0
