"""Merits: which agents have shown that they can work, and which that they cannot.

An agent can work when it has ended a chunk, or has begun one and lived for a minute; to register
is not enough. One that says good-bye could not work where it was refused or came upon a limit or
the end of its allocation at once. An agent that came under an earlier coordinator shows neither.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet

import msgpack

from batchpilot.pools import RemotePool
from batchpilot.resources import fits
from batchpilot.store.allocations import Pilot
from batchpilot_agent.serving import is_placed
from batchpilot_agent.settings import MARGIN
from batchpilot_broker.nouns import AgentInfo, ResourceClass

from .desk import Desk
from .happenings import BEFORE, AgentEnded, AgentRefused, AgentSeen, Happening, Life
from .judge import Judge


YOUNG = 60.0


class Merits:
    """Listen to what agents show.

    Args:
        desk: What the duties share.
        judge: Knows how long agents were heard of.
    """

    def __init__(self, desk: Desk, judge: Judge) -> None:
        self._desk = desk
        self._judge = judge
        self._lives: dict[str, Life] = {}
        self._refused: dict[str, str] = {}
        self._proven: set[str] = set()
        desk.bus.listen(self._hear)

    def shows(self, agent: str) -> bool:
        """Tell, once, that an agent has shown that it can work."""
        if agent in self._proven:  # first: it is asked of all, all the time
            return False
        life = self._life(agent)
        if life is BEFORE:
            return False
        if life.ended or (life.begun and life.seconds >= YOUNG):
            self._proven.add(agent)
        return agent in self._proven

    def lasted(self, agent: str) -> bool:
        """Tell whether an agent that came did not end at once."""
        life = self._life(agent)
        return bool(agent) and (life.ended or life.seconds >= YOUNG)

    def fault(self, pilot: Pilot, bye: str) -> str:
        """Return why an agent that has left could not work, "" where it could.

        Args:
            pilot: The agent, as it was asked for.
            bye: What it said at its end.
        """
        if bye == "refused" or pilot.agent in self._refused:
            return self._refused.get(pilot.agent, "") or "it was refused"
        if bye == "limit" and not self.lasted(pilot.agent):
            return "its node gives it too few files or processes: see `ulimit -n` and `ulimit -u`"
        if bye == "walltime" and not self._life(pilot.agent).begun:
            return self._lateness(pilot)
        return ""

    def passed_over(self, pilot: Pilot, bye: str, now: float) -> str:
        """Return that an agent was idle though jobs waited for such as it, "" where none did."""
        if bye != "idle" or self._life(pilot.agent).begun or not self._is_awaited(pilot, now):
            return ""
        return (
            f"agent {pilot.agent} was idle and began none of the jobs that wait for such as it: "
            "what `setup` leaves of its walltime may be too short for them"
        )

    def forget_but(self, agents: AbstractSet[str]) -> None:
        """Forget all but those that may still be asked for."""
        self._lives = {a: life for a, life in self._lives.items() if a in agents}
        self._refused = {a: why for a, why in self._refused.items() if a in agents}
        self._proven &= agents

    def _hear(self, happening: Happening) -> None:
        if isinstance(happening, AgentSeen):
            self._lives.pop(happening.agent, None)
        elif isinstance(happening, AgentEnded):
            self._lives[happening.agent] = happening.life
        elif isinstance(happening, AgentRefused):
            self._refused[happening.agent] = happening.why

    def _life(self, agent: str) -> Life:
        return self._lives.get(agent) or self._judge.life(agent)

    def _pool(self, pilot: Pilot) -> RemotePool | None:
        return next((p for p in self._desk.remote_pools() if p.name == pilot.pool), None)

    def _lateness(self, pilot: Pilot) -> str:
        """Return that an allocation was about to end when its agent came, if it was."""
        pool = self._pool(pilot)
        with self._desk.db.read() as tx:
            row = tx.execute("agent_info", pilot.agent).fetchone()
        needed = MARGIN if pool is None else MARGIN + pool.grace
        left = 0.0  # of one that went before it was seen
        if row is not None:
            info = AgentInfo.from_wire(msgpack.unpackb(row[0]))
            left = info.deadline - info.started
        if left >= needed:
            return ""
        return (
            f"its allocation was to end within {needed:.0f} s when it came, which it leaves for "
            "its end: the walltime must be longer than setup, grace and work"
        )

    def _is_awaited(self, pilot: Pilot, now: float) -> bool:
        """Tell whether jobs that agents like this one are for have waited for a minute."""
        pool, variables = self._pool(pilot), json.loads(pilot.variables)
        if pool is None:
            return False
        with self._desk.db.read() as tx:
            chunks = [(row[1], row[6]) for row in tx.all("all_chunks") if not row[5]]
            classes = dict(tx.all("all_classes")) if chunks else {}
        waiting = {name for name, fed in chunks if now - fed >= YOUNG}
        needs = (ResourceClass.from_wire(msgpack.unpackb(classes[name])) for name in waiting)
        return any(fits(needed, pool) and is_placed(needed, variables) for needed in needs)
