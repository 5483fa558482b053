"""The agents asked for at batch systems: read once, kept in step with the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batchpilot.store.allocations import (
    Pilot,
    Stage,
    add_pilots,
    name_allocation,
    pilots_alive,
    read_pilot,
    update_pilots,
)
from batchpilot_agent.launchers.keeping import read_submitted
from batchpilot_agent.launchers.nouns import Submitted

from .desk import Desk


UNSUBMITTED = "it was not submitted"


class Roster:
    """Keep the agents that were asked for and have not ended.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with desk.db.read() as tx:
            self._pilots = {(p.allocation, p.number): p for p in pilots_alive(tx)}
        self._settle()

    def refresh(self) -> None:
        """Learn of agents that were asked for by others, as `batchpilot agents start` does."""
        with self._desk.db.read() as tx:
            for pilot in pilots_alive(tx):
                known = self._pilots.setdefault((pilot.allocation, pilot.number), pilot)
                if pilot.id and not known.id:
                    known.id, known.stage = pilot.id, pilot.stage

    def of_pool(self, pool: str) -> list[Pilot]:
        """Return the agents asked for by a pool, the oldest first."""
        return [pilot for pilot in self._pilots.values() if pilot.pool == pool]

    def of_kind(self, kind: str) -> list[Pilot]:
        """Return the agents asked for at a batch system."""
        return [pilot for pilot in self._pilots.values() if pilot.kind == kind]

    def kinds(self) -> set[str]:
        """Return the batch systems where there are some."""
        return {pilot.kind for pilot in self._pilots.values()}

    def find(self, allocation: str) -> Pilot | None:
        """Return the agent that was asked for as `<allocation>.<element>`, ended or not."""
        name, _, number = allocation.rpartition(".")
        if not number.isdigit():
            return None
        key = name, int(number)
        return self._pilots.get(key) or self._ended(*key)

    def of_agent(self, agent: str) -> Pilot | None:
        """Return what an agent was asked for as."""
        return next((p for p in self._pilots.values() if p.agent == agent), None)

    def add(self, pilots: Sequence[Pilot]) -> None:
        """Note the agents of a submission that is about to be made."""
        with self._desk.db.write() as tx:
            add_pilots(tx, pilots)
        self._pilots.update({(p.allocation, p.number): p for p in pilots})

    def submitted(self, allocation: str, submitted: Submitted) -> None:
        """Note what a submission has come to; who was not submitted has ended."""
        ours = [p for p in self._pilots.values() if p.allocation == allocation]
        names = dict(enumerate(submitted.elements, 1))
        for pilot in ours:
            pilot.id = names.get(pilot.number, "")
            if pilot.id:
                if pilot.stage is Stage.SUBMITTING:
                    pilot.stage = Stage.QUEUED
            elif pilot.stage is Stage.SUBMITTING:
                pilot.stage, pilot.reason = Stage.ENDED, submitted.shortfall or UNSUBMITTED
        with self._desk.db.write() as tx:
            name_allocation(tx, allocation, submitted.ids)
            update_pilots(tx, ours)
        self._forget_ended()

    def update(self, pilots: Iterable[Pilot]) -> None:
        """Keep what has changed."""
        changed = list(pilots)
        if changed:
            with self._desk.db.write() as tx:
                update_pilots(tx, changed)
            self._pilots.update({(p.allocation, p.number): p for p in changed})
            self._forget_ended()

    def _ended(self, allocation: str, number: int) -> Pilot | None:
        """Return one that was taken for ended, as its batch system may have started it again."""
        with self._desk.db.read() as tx:
            return read_pilot(tx, allocation, number)

    def _settle(self) -> None:
        """Find what became of submissions during which a coordinator died."""
        unsettled = {p.allocation for p in self._pilots.values() if p.stage is Stage.SUBMITTING}
        for allocation in sorted(unsettled):
            found = read_submitted(self._desk.paths.allocation(allocation))
            self.submitted(allocation, found or Submitted(ids=(), elements=()))

    def _forget_ended(self) -> None:
        self._pilots = {k: p for k, p in self._pilots.items() if p.stage is not Stage.ENDED}
