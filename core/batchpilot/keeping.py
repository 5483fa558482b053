"""Keep the session's own process as it is while jobs run in it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchpilot_agent.slot.dependencies import kept_builtins
from batchpilot_agent.slot.finder import EpochFinder


@contextmanager
def kept_process() -> Iterator[None]:
    """Give fds 0 to 2, working directory, import path and builtins back at the end."""
    kept = [os.dup(fd) for fd in range(3)]
    cwd, path, finders = Path.cwd(), list(sys.path), list(sys.meta_path)
    try:
        with kept_builtins():
            yield
    finally:
        for fd, old in enumerate(kept):
            os.dup2(old, fd)
            os.close(old)
        os.chdir(cwd)
        sys.path[:] = path
        sys.meta_path[:] = [
            finder
            for finder in sys.meta_path
            if finder in finders or not isinstance(finder, EpochFinder)
        ]


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Remember an interrupt that a job has swallowed: the job is an error, and then all ends."""
    interrupted = False

    def note(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    old = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, old)
