"""Agents asked for at batch systems: one row each, from before the submission to the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .database import Transaction


class Stage(StrEnum):
    """Where an agent that was asked for is."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(slots=True, kw_only=True)
class Pilot:
    """Hold what is known of one agent that was asked for.

    Attributes:
        allocation: The submission.
        number: Its element there.
        pool: Pool that asked for it.
        kind: Class of that pool.
        variables: What its job script was rendered with, as JSON.
        submitted: Unix time of the submission.
        id: What the batch system calls it, "" while not known.
        stage: Where it is.
        reason: Why, in the batch system's words.
        agent: The agent that came of it, "" until it does.
    """

    allocation: str
    number: int
    pool: str
    kind: str
    variables: str
    submitted: float
    id: str = ""
    stage: Stage = Stage.SUBMITTING
    reason: str = ""
    agent: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Return the name by which we know it."""
        return self.allocation, self.number


def variables_key(variables: Mapping[str, Any]) -> str:
    """Return variables as they are kept and compared."""
    return json.dumps(dict(variables), sort_keys=True)


def add_pilots(tx: Transaction, pilots: Sequence[Pilot]) -> None:
    """Note the agents of one submission, before it is made."""
    first = pilots[0]
    fields = (first.allocation, first.pool, first.kind, first.variables, first.submitted)
    tx.execute("add_allocation", *fields)
    for pilot in pilots:
        tx.execute("add_element", pilot.allocation, pilot.number)


def settle_allocation(
    tx: Transaction, allocation: str, ids: Sequence[str], elements: Sequence[str], shortfall: str
) -> list[Pilot]:
    """Note what a submission has come to, whoever has made it; return its agents.

    Args:
        tx: Changes the rows as they are now: an agent may have come already.
        allocation: The submission.
        ids: What the batch system calls its arrays.
        elements: What it calls the agents, the first is element 1; "" for one it has not taken.
        shortfall: Why others have ended, that were not submitted.
    """
    names = dict(enumerate(elements, 1))
    pilots = [_pilot(row) for row in tx.all("elements_of", allocation)]
    for pilot in pilots:
        never = pilot.stage is Stage.ENDED and not (pilot.id or pilot.agent)
        pilot.id = names.get(pilot.number, "") or pilot.id
        if pilot.stage is Stage.SUBMITTING or never:
            pilot.stage = Stage.QUEUED if pilot.id else Stage.ENDED
            pilot.reason = "" if pilot.id else shortfall
    tx.execute("name_allocation", json.dumps(list(ids)), allocation)
    update_pilots(tx, pilots)
    return pilots


def update_pilots(tx: Transaction, pilots: Sequence[Pilot]) -> None:
    """Note where agents are."""
    for pilot in pilots:
        fields = (pilot.id, str(pilot.stage), pilot.reason, pilot.agent)
        tx.execute("set_element", *fields, pilot.allocation, pilot.number)


def pilots_alive(tx: Transaction) -> list[Pilot]:
    """Return all agents asked for that have not ended, the oldest first."""
    return [_pilot(row) for row in tx.all("elements_alive")]


def read_pilot(tx: Transaction, allocation: str, number: int) -> Pilot | None:
    """Return an agent that was asked for, ended or not; None where there is no such element."""
    row = tx.execute("read_element", allocation, number).fetchone()
    return None if row is None else _pilot(row)


def _pilot(row: Sequence[Any]) -> Pilot:
    return Pilot(
        allocation=row[0],
        number=row[1],
        pool=row[2],
        kind=row[3],
        variables=row[4],
        submitted=row[5],
        id=row[6],
        stage=Stage(row[7]),
        reason=row[8],
        agent=row[9],
    )


def element_of(tx: Transaction, agent: str) -> tuple[str, int] | None:
    """Return the allocation of an agent and its number there; None where it has none."""
    row = tx.execute("element_of_agent", agent).fetchone()
    return None if row is None else (str(row[0]), int(row[1]))
