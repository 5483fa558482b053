"""What happens in a coordinator, and the bus that tells it to those who listen.

| happening | told when |
|---|---|
| ChunksFed | chunks were handed to the broker |
| JobsEnded | rows of ended jobs were applied |
| JobsRequeued | jobs go to the queue again, with the reason |
| AgentSeen, AgentEnded | an agent registered, left or was lost |
| Rejected | a message or a stretch of a segment was ignored |
| LaunchFailed | an agent did not start |
| BrokerChanged | the broker went away or came back |
| EventsApplied | a transaction has applied events |
| SchedulerCalled | a program was called that starts, looks for or cancels agents |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
class AgentEnded:
    """Say that an agent left or was lost."""

    agent: str
    pool: str
    reason: str


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
