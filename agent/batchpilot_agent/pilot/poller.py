"""The pilot's one place of waiting: file descriptors and who is called when they are ready."""

from __future__ import annotations

import math
import select
from collections.abc import Callable


class Poller:
    """Call whoever watches a file descriptor once something can be read from (or written to) it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._calls: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, call: Callable[[], None], *, writing: bool = False) -> None:
        """Call when fd can be read or its other end closes; `writing`: also when it takes more."""
        self._calls[fd] = call
        self._poll.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))

    def forget(self, fd: int) -> None:
        """Watch fd no longer; to be said before it is closed."""
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, seconds: float) -> None:
        """Wait until something is ready, at most some seconds, and call its watchers."""
        for fd, _ in self._poll.poll(math.ceil(max(seconds, 0.0) * 1000)):
            call = self._calls.get(fd)
            if call is not None:
                call()
