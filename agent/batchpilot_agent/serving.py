"""Which jobs an agent can serve: by these rules it claims, and users are told why it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchpilot_broker.nouns import ResourceClass

from .settings import MARGIN


SPARE = 30.0
"""Least seconds that must be left beyond a job's own before an agent's allocation ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Hold how much may run (besides what runs)."""

    slots: int
    cores: int
    memory: float
    gpus: int

    def fits(self, need: ResourceClass) -> bool:
        """Tell whether a job of a class fits in."""
        return (
            self.slots > 0
            and need.ncpus <= self.cores
            and need.memory <= self.memory
            and need.gpus <= self.gpus
        )


def is_placed(need: ResourceClass, variables: Mapping[str, Any] | None) -> bool:
    """Tell whether an agent is where jobs ask to be, such as in their partition.

    Args:
        need: What the jobs need.
        variables: What the agent's job script was rendered with; None where there was none, and
            it serves all.
    """
    return variables is None or all(
        name in variables and variables[name] == value for name, value in need.template
    )


def seconds_needed(need: ResourceClass, taken: float, grace: float) -> float:
    """Return the seconds that an agent must have left to begin a job.

    Args:
        need: What the job needs.
        taken: Seconds that such jobs have taken there, 0 where nothing is known.
        grace: Seconds that jobs get when the agent has to go.
    """
    return (need.walltime or taken) + seconds_spare(grace)


def seconds_spare(grace: float) -> float:
    """Return those of them that are not the job's: it is not to be cut into by the end."""
    return max(SPARE, grace + MARGIN)
