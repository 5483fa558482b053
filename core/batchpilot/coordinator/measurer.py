"""Measure: what is unfinished; and the heartbeats and backups that go with looking."""

from __future__ import annotations

import logging
import time

from batchpilot.errors import StorageError
from batchpilot.store.owner import Office

from .desk import Desk


ALIVE_EVERY = 2.0
BEAT_EVERY = 5.0
BACKUP_EVERY = 600.0

_log = logging.getLogger("batchpilot.coordinator")


class Measurer:
    """Count what is unfinished, and beat the coordinator's heart on disk and broker.

    Args:
        desk: What the duties share.
        office: The ownership to renew.
        now: When it begins.
    """

    def __init__(self, desk: Desk, office: Office, *, now: float = 0.0) -> None:
        self._desk = desk
        self._office = office
        self._next_alive = self._next_beat = 0.0
        self._next_backup = now + BACKUP_EVERY
        self._backed_up = -1
        self.unfinished = 0

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now >= self._next_alive:
            self._next_alive = now + ALIVE_EVERY
            self.unfinished = self.count_unfinished()
            self._desk.broker.alive(self.unfinished)
        if now >= self._next_beat:
            self._next_beat = now + BEAT_EVERY
            self._office.beat()
        if now >= self._next_backup:
            self._next_backup = now + BACKUP_EVERY
            self.back_up()

    def count_unfinished(self) -> int:
        """Return a number that is 0 exactly when no submitted job is unfinished."""
        with self._desk.db.read() as tx:
            held = int(tx.execute("held_left").fetchone()[0])
            return held + sum(int(n) for _, n in tx.all("unfinished_by_class"))

    def back_up(self) -> None:
        """Copy the database to `backup/` if it has changed; keep the two newest."""
        with self._desk.db.read() as tx:
            changes = tx.db.execute("SELECT COALESCE(MAX(id), 0) FROM outcome").fetchone()[0]
        if changes == self._backed_up:
            return
        self._backed_up = changes
        try:
            self._desk.db.back_up(time.time_ns())
        except StorageError as error:  # the copies that there are stay; the work goes on
            _log.warning("not backed up: %s", error)
