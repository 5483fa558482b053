"""Errands: what may take a minute is done beside the loop, one thing at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Errand(Protocol):
    """Something under way."""

    @property
    def done(self) -> bool:
        """Tell whether it has come to an end."""

    def wait(self, seconds: float) -> None:
        """Wait for its end, so many seconds at most."""

    def result(self) -> Any:
        """Return what came of it, or raise what went wrong."""


@dataclass(slots=True)
class Stopwatch:
    """Do something, and know how long it took.

    Attributes:
        job: What to do.
        seconds: How long it took, 0 while it is not done.
    """

    job: Callable[[], Any]
    seconds: float = 0.0

    def __call__(self) -> Any:
        """Do it."""
        begun = time.perf_counter()
        try:
            return self.job()
        finally:
            self.seconds = time.perf_counter() - begun


class ThreadedErrand:
    """Do something in a thread that keeps no coordinator from leaving.

    Args:
        job: What to do; it touches neither database nor broker, which are the loop's.
    """

    def __init__(self, job: Callable[[], Any]) -> None:
        self._job = job
        self._result: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Tell whether it has come to an end."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for its end, so many seconds at most."""
        self._thread.join(seconds)

    def result(self) -> Any:
        """Return what came of it, or raise what went wrong."""
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._job()
        except Exception as error:  # noqa: BLE001 - raised again by result()
            self._error = error
