"""Progress on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


LINE_SECONDS = 10.0


class Progress(Protocol):
    """Show how many jobs have ended."""

    def show(self, ended: int, *, running: int, failed: int) -> None:
        """Show a count."""

    def say(self, line: str) -> None:
        """Show a line that is no count."""


@contextmanager
def progress_for(jobs: int, *, shown: bool) -> Iterator[Progress]:
    """Give what shows the progress of a number of jobs.

    Args:
        jobs: Number of jobs.
        shown: False to show nothing.
    """
    if not shown:
        yield _Silence()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _rich_bar() as bar:
            yield _Bar(bar, jobs)
    else:
        yield _Lines(jobs)


class _Silence:
    def show(self, ended: int, *, running: int, failed: int) -> None:
        pass

    def say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class _Lines(_Silence):
    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._last = time.monotonic()
        self._told: tuple[int, ...] = ()

    def show(self, ended: int, *, running: int, failed: int) -> None:
        now = time.monotonic()
        count = ended, running, failed
        last = ended == self._jobs and bool(self._told)
        if count == self._told or (now - self._last < LINE_SECONDS and not last):
            return
        self._last, self._told = now, count
        self.say(_words(ended, self._jobs, running, failed))


class _Bar:
    def __init__(self, bar: Any, jobs: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=jobs)
        self._jobs = jobs

    def show(self, ended: int, *, running: int, failed: int) -> None:
        words = _words(ended, self._jobs, running, failed)
        self._bar.update(self._task, completed=ended, description=words)

    def say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, highlight=False)


def _words(ended: int, jobs: int, running: int, failed: int) -> str:
    words = f"{ended} of {jobs} jobs ended"
    if failed:
        words += f", {failed} without a result"
    return f"{words}, {running} running" if running else words


def _rich_bar() -> Any:
    from rich.console import Console  # noqa: PLC0415 - slow, and only needed on a terminal
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
