"""The agents asked for at batch systems: read once, kept in step with the database."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from batchpilot.store.allocations import (
    Pilot,
    Stage,
    add_pilots,
    pilots_alive,
    read_pilot,
    settle_allocation,
    update_pilots,
)
from batchpilot_agent.launchers.keeping import read_submitted
from batchpilot_agent.launchers.nouns import Submitted
from batchpilot_broker.errors import StorageError

from .desk import Desk


UNSUBMITTED = "it was not submitted"
SETTLE_AFTER = 600.0
"""Seconds after which a session that asks for agents has certainly ended."""
INHERITED_AFTER = 60.0
"""Seconds from the submission: `agents start` may ask for agents, and so begin a coordinator."""

_log = logging.getLogger("batchpilot.coordinator")


class Roster:
    """Keep the agents that were asked for and have not ended.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with desk.db.read() as tx:
            self._pilots = {p.key: p for p in pilots_alive(tx)}
        old = time.time() - INHERITED_AFTER
        self._inherited = {key for key, p in self._pilots.items() if p.submitted < old}
        self._under_way: set[str] = set()
        self._settle(p.allocation for p in self._pilots.values() if p.stage is Stage.SUBMITTING)

    def refresh(self, now: float) -> None:
        """Learn of agents that are asked for by others, as `batchpilot agents start` does."""
        with self._desk.db.read() as tx:
            alive = {p.key: p for p in pilots_alive(tx)}
        for key, pilot in alive.items():
            known = self._pilots.setdefault(key, pilot)
            if pilot.id and not known.id:
                known.id, known.stage = pilot.id, pilot.stage
        self._pilots = {key: p for key, p in self._pilots.items() if key in alive}
        self._settle(
            p.allocation
            for p in self._pilots.values()
            if p.stage is Stage.SUBMITTING
            and p.allocation not in self._under_way
            and abs(now - p.submitted) > SETTLE_AFTER
        )

    def of_pool(self, pool: str) -> list[Pilot]:
        """Return the agents asked for by a pool, the oldest first."""
        return [pilot for pilot in self._pilots.values() if pilot.pool == pool]

    def of_kind(self, kind: str) -> list[Pilot]:
        """Return the agents asked for at a batch system."""
        return [pilot for pilot in self._pilots.values() if pilot.kind == kind]

    def kinds(self) -> set[str]:
        """Return the batch systems where there are some."""
        return {pilot.kind for pilot in self._pilots.values()}

    def at_work(self) -> list[Pilot]:
        """Return those of which an agent has come."""
        return [pilot for pilot in self._pilots.values() if pilot.agent]

    def is_inherited(self, pilot: Pilot) -> bool:
        """Tell whether an agent may have ended before this coordinator watched."""
        return pilot.key in self._inherited

    def saw(self, pilot: Pilot) -> None:
        """Note that an agent, or its place in the queue, is there under this coordinator."""
        self._inherited.discard(pilot.key)

    def find(self, allocation: str) -> Pilot | None:
        """Return the agent that was asked for as `<allocation>.<element>`, ended or not."""
        name, _, number = allocation.rpartition(".")
        if not number.isdigit():
            return None
        key = name, int(number)
        return self._pilots.get(key) or self._ended(*key)

    def of_agent(self, agent: str) -> Pilot | None:
        """Return what an agent was asked for as; one that has not been seen yet says so by name."""
        known = next((p for p in self._pilots.values() if p.agent == agent), None)
        if known is not None:
            return known
        match = re.fullmatch(r".*-(\w+)-(\d+)-\w+", agent)  # pool, allocation, number, nonce
        named = self._pilots.get((match[1], int(match[2]))) if match else None
        return named if named is not None and not named.agent else None

    def add(self, pilots: Sequence[Pilot]) -> None:
        """Note the agents of a submission that is about to be made."""
        with self._desk.db.write() as tx:
            add_pilots(tx, pilots)
        self._pilots.update({p.key: p for p in pilots})
        self._under_way.add(pilots[0].allocation)

    def submitted(self, allocation: str, submitted: Submitted) -> None:
        """Note what a submission has come to; who was not submitted has ended."""
        self._under_way.discard(allocation)
        shortfall = submitted.shortfall or UNSUBMITTED
        with self._desk.db.write() as tx:
            pilots = settle_allocation(tx, allocation, submitted.ids, submitted.elements, shortfall)
        self._pilots.update({p.key: p for p in pilots})
        self._forget_ended()

    def interrupted(self, allocation: str, why: str) -> None:
        """Note what was submitted, as far as that was written down, before something failed."""
        found = self._written(allocation) or Submitted(ids=(), elements=())
        self.submitted(allocation, replace(found, shortfall=why))

    def update(self, pilots: Iterable[Pilot]) -> None:
        """Keep what has changed."""
        changed = list(pilots)
        if changed:
            with self._desk.db.write() as tx:
                for pilot in changed:
                    stored = None if pilot.id else read_pilot(tx, *pilot.key)
                    pilot.id = stored.id if stored else pilot.id  # named by a session meanwhile
                update_pilots(tx, changed)
            self._pilots.update({p.key: p for p in changed})
            self._forget_ended()

    def _ended(self, allocation: str, number: int) -> Pilot | None:
        """Return one that was taken for ended, as its batch system may have started it again."""
        with self._desk.db.read() as tx:
            return read_pilot(tx, allocation, number)

    def _settle(self, allocations: Iterable[str]) -> None:
        """Find what became of submissions during which a coordinator or a session died."""
        for allocation in sorted(set(allocations)):
            found = self._written(allocation)
            self.submitted(allocation, found or Submitted(ids=(), elements=()))

    def _written(self, allocation: str) -> Submitted | None:
        try:
            return read_submitted(self._desk.paths.allocation(allocation))
        except StorageError as error:
            _log.error("%s", error)
            return None

    def _forget_ended(self) -> None:
        self._pilots = {k: p for k, p in self._pilots.items() if p.stage is not Stage.ENDED}
