"""A broker in memory: what the coordinator's duties ask of one, without a server.

It keeps the promises of `CoordinatorBroker` that the duties rely on: whoever has been superseded
changes nothing, feeding twice is harmless, what is fed again goes to the head. The other side,
what agents do, are plain methods for tests.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from batchpilot_broker.coordside import Backlog, BrokerStatus, CoordinatorBroker, Survey
from batchpilot_broker.errors import BrokerFull, BrokerUnavailable, TermSuperseded
from batchpilot_broker.nouns import AgentInfo, AgentState, Chunk, ResourceClass


class MemoryBroker(CoordinatorBroker):
    """Hold queues, leases and agents.

    Attributes:
        office: Highest term that has taken office.
        up: Whether it answers.
        room: Bytes that it can still take.
        chunks: Everything ever fed, by number.
        queues: Numbers of the chunks queued for each class, head first.
        held: Agent that holds a chunk, by number.
        known: What each agent announced.
        moved: Counter of each agent.
        shown: State and busy slots of each agent.
        told: Messages to each agent.
        classes: Classes announced.
    """

    def __init__(self) -> None:
        self.rejected = Counter()
        self.office = self._term = 0
        self.up = True
        self.room = 1 << 40
        self.chunks: dict[int, Chunk] = {}
        self.queues: defaultdict[str, list[int]] = defaultdict(list)
        self.held: dict[int, str] = {}
        self.known: dict[str, AgentInfo] = {}
        self.moved: dict[str, int] = {}
        self.shown: dict[str, tuple[AgentState, int]] = {}
        self.told: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.classes: dict[str, ResourceClass] = {}
        self._again: set[int] = set()

    def take(self, term: int) -> None:
        """Take office."""
        self._answer()
        if self.office > term:
            raise TermSuperseded(f"{self.office} came after {term}")
        self.office = self._term = term

    def feed(self, chunks: Sequence[Chunk], *, again: int = 0) -> int:
        """Queue chunks; those fed again at the head, behind others of their kind."""
        self._fence()
        size = sum(len(chunk.pars) + 100 for chunk in chunks)
        if size > self.room:
            raise BrokerFull("the broker has reached its memory limit")
        self.room -= size
        for at, chunk in enumerate(chunks):
            queue = self.queues[chunk.class_id]
            if chunk.id in self.held or chunk.id in queue:
                continue
            self.chunks[chunk.id] = chunk
            if at < again:
                self._again.add(chunk.id)
                queue.insert(sum(number in self._again for number in queue), chunk.id)
            else:
                queue.append(chunk.id)
        return size

    def withdraw(self, class_id: str, chunks: Sequence[int]) -> list[int]:
        """Take back what nobody has claimed."""
        self._fence()
        found = [number for number in chunks if number in self.queues[class_id]]
        for number in found:
            self.queues[class_id].remove(number)
        return found

    def announce(self, class_id: str, resources: ResourceClass) -> None:
        """Make a class known."""
        self._fence()
        self.classes[class_id] = resources

    def survey(self) -> Survey:
        """Return all that is known of agents and leases."""
        self._answer()
        return Survey(
            agents=dict(self.known),
            beats=dict(self.moved),
            states=dict(self.shown),
            leases=dict(self.held),
        )

    def leases(self) -> dict[int, str]:
        """Return the agent that holds each leased chunk."""
        return self.survey().leases

    def queued(self, class_id: str) -> list[int]:
        """Return the chunks queued for a class."""
        self._answer()
        return list(self.queues[class_id])

    def depths(self, class_ids: Sequence[str]) -> dict[str, int]:
        """Return how many chunks are queued for each class."""
        self._answer()
        return {name: len(self.queues[name]) for name in class_ids}

    def control(self, agent: str, kind: str, **fields: Any) -> None:
        """Send a message to one agent."""
        self._fence()
        self.told[agent].append({"kind": kind, **fields})

    def release(self, chunk: int) -> None:
        """End a lease."""
        self._fence()
        self.held.pop(chunk, None)

    def forget(self, agent: str) -> list[int]:
        """Remove a lost agent and end its leases."""
        self._fence()
        self.leave(agent)
        chunks = [number for number, holder in self.held.items() if holder == agent]
        for number in chunks:
            del self.held[number]
        return chunks

    def alive(self, unfinished: int) -> None:
        """Show agents that a coordinator lives."""
        del unfinished
        self._fence()

    def status(self) -> BrokerStatus:
        """Return how the broker fares."""
        return BrokerStatus(up=self.up)

    def backlog(self) -> Backlog:
        """Return what nobody has applied: tests apply at once."""
        self._answer()
        return Backlog()

    def close(self) -> None:
        """Let go of nothing."""

    # The agents' side.

    def register(self, info: AgentInfo) -> None:
        """Let an agent register."""
        self.known[info.id] = info
        self.moved[info.id] = 0
        self.shown[info.id] = (AgentState.IDLE, 0)

    def beat(self, agent: str) -> None:
        """Let an agent show that it lives."""
        self.moved[agent] += 1

    def claim(self, agent: str, class_id: str) -> Chunk:
        """Let an agent claim the head of a queue."""
        number = self.queues[class_id].pop(0)
        self.held[number] = agent
        return self.chunks[number]

    def leave(self, agent: str) -> None:
        """Let an agent say good-bye."""
        for register in (self.known, self.moved, self.shown):
            register.pop(agent, None)

    def _answer(self) -> None:
        if not self.up:
            raise BrokerUnavailable("the broker is away", remedy="wait")

    def _fence(self) -> None:
        self._answer()
        if self.office > self._term:
            raise TermSuperseded(f"{self.office} came after {self._term}")
