"""Copy: write the snapshot that other hosts read, while somebody there looks, and only then.

Who looks says so on the broker, or touches a file where it does not see the broker. A copy is
written when something has changed, at most every 5 s; more often where that costs little.
"""

from __future__ import annotations

import time

from batchpilot.store.snapshots import write_snapshot

from .desk import Desk


WANTED_SECONDS = 120.0
"""For how long a look counts: longer than a network file system shows an old time of a file."""

PATIENCE = 10.0
"""Seconds after which another look is that of somebody new."""

LONGEST_PAUSE = 5.0
COST_SHARE = 0.02
FILE_EVERY = 5.0


class Copier:
    """Write the snapshot.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wanted_until = 0.0
        self._next_file = 0.0
        self._next = 0.0
        self._looked = self._look_time()
        self._written: tuple[int, int] | None = None

    def look(self, now: float) -> None:
        """Note that somebody on another host looks."""
        self._wanted_until = now + WANTED_SECONDS

    def tick(self, now: float) -> None:
        """Write a snapshot if one is wanted, due, and would be another one."""
        if now >= self._next_file:
            self._next_file = now + FILE_EVERY
            looked = self._look_time()
            if looked != self._looked:
                self._looked = looked
                if now > self._wanted_until - WANTED_SECONDS + PATIENCE:
                    self._written = None  # somebody new waits for a copy of now
                self.look(now)
        if self._next <= now < self._wanted_until:
            self.renew(now)

    def renew(self, now: float) -> None:
        """Write a snapshot if it would be another one."""
        changes = self._desk.db.changes()
        if changes == self._written:
            return
        started = time.monotonic()
        write_snapshot(self._desk.db)
        self._written = changes
        self._next = now + min(LONGEST_PAUSE, (time.monotonic() - started) / COST_SHARE)

    def _look_time(self) -> int:
        try:
            return self._desk.paths.looked.stat().st_mtime_ns
        except FileNotFoundError:
            return 0
