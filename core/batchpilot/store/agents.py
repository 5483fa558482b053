"""Agents as they are shown: busy is who has begun a chunk and not ended it.

What an agent says of itself comes with its beat and is up to 5 s old; the chunks are as new as the
last event. Only `starting` and `draining` are the agent's own word.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgpack

from batchpilot_broker.nouns import AgentState

from .database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAgent:
    """Hold what is shown of an agent.

    Attributes:
        id: Its name.
        pool: Its pool.
        host: Its machine.
        pid: Its process there.
        state: starting, idle, busy or draining.
        slots: Most jobs at once.
        busy: Slots at work.
        started: Unix time of its start.
        scheduler_id: What its batch system calls it, "" where it has none.
        deadline: Unix time at which its walltime ends, 0 for never.
        running: Jobs known to run there, sorted; short ones are never seen.
    """

    id: str
    pool: str
    host: str
    pid: int
    state: AgentState
    slots: int
    busy: int
    started: float
    scheduler_id: str = ""
    deadline: float = 0.0
    running: tuple[int, ...] = ()


def live_agents(tx: Transaction) -> list[ShownAgent]:
    """Return the agents that have not ended, as far as the registry knows, the oldest first."""
    return [_shown(*row) for row in tx.all("agents_at_work")]


def _shown(  # noqa: PLR0913, PLR0917 - the columns of the statement
    id_: str,
    pool: str,
    host: str,
    pid: int,
    said: str,
    slots: int,
    chunks: int,
    started: float,
    scheduler_id: str | None,
    running: str,
    info: bytes,
) -> ShownAgent:
    return ShownAgent(
        id=id_,
        pool=pool,
        host=host,
        pid=pid,
        state=_state(said, chunks),
        slots=slots,
        busy=min(chunks, slots),
        started=started,
        scheduler_id=scheduler_id or "",
        deadline=float(msgpack.unpackb(info).get("deadline", 0.0)),
        running=tuple(sorted(json.loads(running))),
    )


def _state(said: str, chunks: int) -> AgentState:
    if said == AgentState.DRAINING:
        return AgentState.DRAINING
    if chunks:
        return AgentState.BUSY
    return AgentState.STARTING if said == AgentState.STARTING else AgentState.IDLE
