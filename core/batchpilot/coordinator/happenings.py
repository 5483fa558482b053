"""What happens in a coordinator, and the bus that tells it to those who listen.

| happening | told when |
|---|---|
| ChunksFed | chunks were handed to the broker |
| JobsEnded | rows of ended jobs were applied |
| JobsRequeued | jobs go to the queue again, with the reason |
| AgentSeen, AgentEnded | an agent registered, left or was lost |
| AgentRefused | an agent was told that it cannot work here |
| Rejected | a message or a stretch of a segment was ignored |
| LaunchFailed | an agent did not start |
| BrokerChanged | the broker went away or came back |
| EventsApplied | a transaction has applied events |
| SchedulerCalled | a program was called that starts, looks for or cancels agents |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from batchpilot.store.changing import Rows


@dataclass(frozen=True, slots=True)
class ChunksFed:
    """Say that jobs of a class were handed to the broker."""

    class_id: str
    chunks: int
    jobs: int


@dataclass(frozen=True, slots=True)
class JobsEnded:
    """Say that jobs ended; `rows` are records of `ROW_DTYPE`."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class JobsRequeued:
    """Say that jobs are fed again."""

    reason: str
    jobs: int


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """Say that an agent registered."""

    agent: str
    pool: str


@dataclass(frozen=True, slots=True)
class Life:
    """Hold what an agent has shown of itself to this coordinator.

    Attributes:
        seconds: How long it was heard of, by the coordinator's clock.
        begun: Whether it has begun a chunk.
        ended: Whether it has ended one.
    """

    seconds: float = 0.0
    begun: bool = False
    ended: bool = False


BEFORE = Life(math.inf, begun=True, ended=True)
"""Life of an agent that came under an earlier coordinator: nothing is held against it."""


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """Say that an agent left or was lost.

    Attributes:
        agent: Its name.
        pool: Its pool, "" where it is not known.
        reason: left or lost.
        bye: Why, in its own words, "" where it did not say good-bye.
        life: What it has shown of itself.
    """

    agent: str
    pool: str
    reason: str
    bye: str = ""
    life: Life = field(default=BEFORE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AgentRefused:
    """Say that an agent was told that it cannot work here, and why."""

    agent: str
    pool: str
    why: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Say that something foreign, late or damaged was ignored."""

    what: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """Say that an agent did not start; `words` are the last lines it wrote."""

    pool: str
    words: str


@dataclass(frozen=True, slots=True)
class BrokerChanged:
    """Say that the broker is up or down."""

    up: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class EventsApplied:
    """Say that a transaction has applied events, and how long it took."""

    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SchedulerCalled:
    """Say that agents were started, looked for or cancelled by calling a program.

    Attributes:
        kind: Kind of the pool: local, ssh, slurm, ...
        command: submit, query or cancel.
        seconds: How long it took.
        ok: Whether it succeeded.
    """

    kind: str
    command: str
    seconds: float
    ok: bool = True


Happening = (
    ChunksFed
    | JobsEnded
    | JobsRequeued
    | AgentSeen
    | AgentEnded
    | AgentRefused
    | Rejected
    | LaunchFailed
    | BrokerChanged
    | EventsApplied
    | SchedulerCalled
)


class Bus:
    """Tell each happening to all listeners, in the order they came."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Happening], None]] = []

    def listen(self, listener: Callable[[Happening], None]) -> None:
        """Add a listener; it must not raise."""
        self._listeners.append(listener)

    def tell(self, happening: Happening) -> None:
        """Tell a happening to all listeners."""
        for listener in self._listeners:
            listener(happening)
