"""Health: what `/healthz` and `/readyz` answer, one line a check.

/healthz   the loop turns: a process that answers no is to be started anew
/readyz    the loop turns, it holds the office, the registry is written to, the broker answers
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


TURNS_WITHIN = 120.0
BEATS_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """Hold one check and what it found."""

    name: str
    ok: bool
    text: str = ""

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'FAILED'} {self.name}{': ' if self.text else ''}{self.text}"


class Pulse:
    """Know when the loop turned last.

    Args:
        clock: Gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned = clock()

    def turn(self) -> None:
        """Say that the loop has turned."""
        self._turned = self._clock()

    def check(self) -> Check:
        """Return whether it still does."""
        ago = self._clock() - self._turned
        return Check("loop", ago < TURNS_WITHIN, f"turned {ago:.0f} s ago")


def beat_check(heartbeat: float) -> Check:
    """Return whether the registry has taken the last heartbeats, given the time of the last one."""
    ago = max(0.0, time.time() - heartbeat)
    return Check("registry", ago < BEATS_WITHIN, f"written {ago:.0f} s ago")


def answer(checks: list[Check]) -> tuple[bool, str]:
    """Return whether all is well, and the text that says so."""
    return all(check.ok for check in checks), "".join(f"{check}\n" for check in checks)
