"""What all pools with agents have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


KNOWN_RESOURCES: Final = ("ncpus", "memory", "gpus", "walltime")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPool:
    """Be the base of pools that have agents; see those for what the options mean."""

    slots: int = 1
    min_agents: int = 0
    max_agents: int = 1
    resources: Mapping[str, Any] = field(default_factory=dict)
    idle_timeout: float = 300.0
    start: str = "fork"
    name: str = ""

    @property
    def ncpus(self) -> int:
        """Return the cores of one agent."""
        return int(self.resources.get("ncpus", self.slots))

    @property
    def memory(self) -> float:
        """Return the MB of one agent, 0 for unknown."""
        return float(self.resources.get("memory", 0.0))

    @property
    def gpus(self) -> int:
        """Return the devices of one agent."""
        return int(self.resources.get("gpus", 0))

    @property
    def walltime(self) -> float:
        """Return the seconds after which an agent is ended, 0 for never."""
        return float(self.resources.get("walltime", 0.0))
