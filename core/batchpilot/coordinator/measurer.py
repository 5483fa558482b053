"""Measure: a snapshot of the registry every few seconds, for metrics and heartbeats."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from batchpilot.errors import StorageError
from batchpilot.status import Status
from batchpilot.store.agents import live_agents
from batchpilot.store.owner import Office
from batchpilot_broker.coordside import BrokerStatus

from .desk import Desk


SNAPSHOT_EVERY = 5.0
ALIVE_EVERY = 2.0
BEAT_EVERY = 5.0
BACKUP_EVERY = 600.0

_log = logging.getLogger("batchpilot.coordinator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Hold what the registry looked like at one moment.

    Attributes:
        at: Unix time.
        status: Jobs by state.
        agents: Number of agents by (pool, state).
        slots: Busy slots and all slots.
        broker: How the broker fares.
    """

    at: float = 0.0
    status: Status = field(default_factory=Status)
    agents: Counter[tuple[str, str]] = field(default_factory=Counter)
    slots: tuple[int, int] = (0, 0)
    broker: BrokerStatus = field(default_factory=lambda: BrokerStatus(up=False))


class Measurer:
    """Take snapshots, and beat the coordinator's heart on disk and broker.

    Args:
        desk: What the duties share.
        office: The ownership to renew.
        count: Counts the jobs by state.
        now: When it begins.
    """

    def __init__(
        self, desk: Desk, office: Office, count: Callable[[], Status], *, now: float = 0.0
    ) -> None:
        self._desk = desk
        self._count = count
        self._office = office
        self._next_snapshot = self._next_alive = self._next_beat = 0.0
        self._next_backup = now + BACKUP_EVERY
        self._backed_up = -1
        self.snapshot = Snapshot()
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
        if now >= self._next_snapshot:
            self._next_snapshot = now + SNAPSHOT_EVERY
            self.snapshot = self._take(now)
        if now >= self._next_backup:
            self._next_backup = now + BACKUP_EVERY
            self.back_up()

    def count_unfinished(self) -> int:
        """Return a number that is 0 exactly when no submitted job is unfinished."""
        with self._desk.db.read() as tx:
            return sum(int(n) for _, n in tx.all("unfinished_by_class"))

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

    def _take(self, now: float) -> Snapshot:
        with self._desk.db.read() as tx:
            agents = live_agents(tx)
        return Snapshot(
            at=now,
            status=self._count(),
            agents=Counter((agent.pool, str(agent.state)) for agent in agents),
            slots=(sum(agent.busy for agent in agents), sum(agent.slots for agent in agents)),
            broker=self._desk.broker.status(),
        )
