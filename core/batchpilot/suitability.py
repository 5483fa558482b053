"""Why agents that are there do not take jobs of a class, by the rules with which they claim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchpilot_agent.serving import Room, is_placed, seconds_needed, seconds_spare
from batchpilot_broker.nouns import AgentState, ResourceClass

from .durations import duration
from .reasons import Cause, Reason
from .store.agents import ShownAgent


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitability:
    """Sort agents by whether they can run jobs of a class now.

    Attributes:
        needed: What the jobs need.
        agents: Agents of the pools that can run them.
        taken: Seconds that such jobs have taken at each agent, where that is known.
        grace: Seconds that jobs get when agents of a pool have to go.
        now: Unix time.
    """

    needed: ResourceClass
    agents: Sequence[ShownAgent]
    taken: Mapping[str, float]
    grace: Mapping[str, float]
    now: float
    _sorted: dict[Cause | None, list[ShownAgent]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort them."""
        for agent in self.agents:
            self._sorted.setdefault(self._lack(agent), []).append(agent)

    @property
    def suited(self) -> Sequence[ShownAgent]:
        """Return those that can."""
        return self._sorted.get(None, [])

    def reasons(self) -> Iterator[Reason]:
        """Yield why the others cannot."""
        told = {
            Cause.AGENTS_ELSEWHERE: self._elsewhere,
            Cause.AGENTS_TOO_SMALL: self._too_small,
            Cause.AGENTS_OUT_OF_TIME: self._out_of_time,
            Cause.AGENTS_LEAVING: self._leaving,
        }
        for cause, tell in told.items():
            agents = self._sorted.get(cause)
            if agents:
                yield tell(agents)

    def _lack(self, agent: ShownAgent) -> Cause | None:
        """Return what an agent lacks, the most lasting first."""
        room = Room(
            slots=agent.slots,
            cores=agent.cores,
            memory=agent.memory or math.inf,
            gpus=agent.gpus,
        )
        if not is_placed(self.needed, agent.variables):
            return Cause.AGENTS_ELSEWHERE
        if not room.fits(self.needed):
            return Cause.AGENTS_TOO_SMALL
        if agent.state is AgentState.DRAINING:
            return Cause.AGENTS_LEAVING
        if agent.deadline and agent.deadline - self.now < self._seconds(agent):
            return Cause.AGENTS_OUT_OF_TIME
        return None

    def _seconds(self, agent: ShownAgent) -> float:
        return seconds_needed(self.needed, self.taken.get(agent.id, 0.0), self._grace(agent))

    def _grace(self, agent: ShownAgent) -> float:
        return self.grace.get(agent.pool, 0.0)

    def _elsewhere(self, agents: Sequence[ShownAgent]) -> Reason:
        wanted = dict(self.needed.template)
        theirs = agents[0].variables or {}
        name = next(n for n, value in wanted.items() if n not in theirs or theirs[n] != value)
        has = f"{name}={theirs[name]!r}" if name in theirs else f"no {name}"
        return Reason(
            cause=Cause.AGENTS_ELSEWHERE,
            text=f"it asks for {name}={wanted[name]!r}, {counted(agents)} had {has} in the job "
            "script; agents of its own are asked for",
        )

    def _too_small(self, agents: Sequence[ShownAgent]) -> Reason:
        parts = []
        for name, wanted, most in (
            ("ncpus", self.needed.ncpus, max(agent.cores for agent in agents)),
            ("memory", self.needed.memory, max(agent.memory or math.inf for agent in agents)),
            ("gpus", self.needed.gpus, max(agent.gpus for agent in agents)),
        ):
            if wanted > most:
                parts.append(f"{name}={wanted:g}, but got at most {most:g}")
        lacking = "; ".join(parts) or "more than any of them got"
        return Reason(
            cause=Cause.AGENTS_TOO_SMALL,
            text=f"{counted(agents)} got too little: it needs {lacking}",
            remedy="ask for less, or for larger agents in reg.pools",
        )

    def _out_of_time(self, agents: Sequence[ShownAgent]) -> Reason:
        longest = max(agents, key=lambda agent: agent.deadline)
        what = "its walltime" if self.needed.walltime else "what such jobs have taken there"
        left = duration(longest.deadline - self.now)
        spare = seconds_spare(self._grace(longest))
        who = "the agent has" if len(agents) == 1 else f"the longest of {counted(agents)} has"
        return Reason(
            cause=Cause.AGENTS_OUT_OF_TIME,
            text=f"it needs {duration(self._seconds(longest))} ({what} and {spare:.0f} s), "
            f"{who} {left} left; it waits for the next one",
        )

    @staticmethod
    def _leaving(agents: Sequence[ShownAgent]) -> Reason:
        verb = "begins" if len(agents) == 1 else "begin"
        return Reason(
            cause=Cause.AGENTS_LEAVING,
            text=f"{counted(agents)} {'is' if len(agents) == 1 else 'are'} leaving and {verb} no "
            "more jobs",
        )


def counted(agents: Sequence[object]) -> str:
    """Return how many agents these are.

    Example:
        >>> counted([1]), counted([1, 2])
        ('1 agent', '2 agents')
    """
    return "1 agent" if len(agents) == 1 else f"{len(agents)} agents"
