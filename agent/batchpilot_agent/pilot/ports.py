"""What the pilot asks of the broker: `AgentBroker` does it, and tests do it in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from batchpilot_broker.agentside import Beat
from batchpilot_broker.nouns import AgentInfo, AgentState, Chunk, Report, ResourceClass
from batchpilot_broker.paths import RegistryPaths


class BrokerPort(Protocol):
    """Speak to the broker for one agent; every failure is a `BrokerError`."""

    generation: int

    def register(self, info: AgentInfo) -> None:
        """Announce the agent."""

    def classes(self) -> dict[str, ResourceClass]:
        """Return all resource classes announced so far."""

    def claim(self, agent: str, class_ids: Sequence[tuple[str, int]]) -> Chunk | None:
        """Lease the best chunk of some classes, given with their priorities."""

    def finish(self, agent: str, chunk: int, *, jobs: int, seconds: float) -> None:
        """End the lease of a chunk."""

    def hold(self, agent: str, chunks: Sequence[int]) -> None:
        """Lease again what the agent still runs, on a broker that has lost its data."""

    def report(self, report: Report) -> None:
        """Tell the coordinator of a stretch of the result segment."""

    def send(self, kind: str, **fields: Any) -> None:
        """Tell the coordinator of anything else."""

    def beat(self, agent: str, state: AgentState, busy: int, held: int) -> Beat:
        """Renew the lease on all that the agent holds, and learn how things stand."""

    def leave(self, agent: str) -> None:
        """Remove all that the agent put down about itself."""

    def listen(self, agent: str, class_ids: Sequence[str]) -> None:
        """Wait for control messages and the bells of some classes, and for nothing else."""

    def fileno(self) -> int | None:
        """Return the descriptor to poll, None while nothing is waited for."""

    def receive(self) -> list[dict[str, Any]]:
        """Return what came, without blocking; where that is something, `listen` is due again."""

    def replaced(self, paths: RegistryPaths) -> bool:
        """Tell whether the registry names another broker now."""

    def close(self) -> None:
        """Let go of the broker."""


Opener = Callable[[], BrokerPort]
"""Opens the broker that the registry names now."""
