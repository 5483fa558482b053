"""The nouns of launching: what is asked of a batch system, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


GRACE = 10.0
"""Seconds that jobs get when their agent has to go, where nothing else is said."""


class ElementState(StrEnum):
    """Where an element of an array is, in the eyes of its batch system."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementStatus:
    """Hold what a batch system says of one element.

    Attributes:
        state: Where it is.
        reason: Why, in the batch system's own words.
        failed: Whether it ended as nothing should: not by exit code 0, its time limit, a cancel or
            preemption.
        known: Whether the batch system knows it at all: it forgets what has ended, and may not
            have heard yet of what was just submitted.
    """

    state: ElementState
    reason: str = ""
    failed: bool = False
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """Hold what is to be submitted: a number of agents, and what each of them gets.

    Attributes:
        id: Our name of the allocation, unique in the registry for ever.
        pool: Pool that asks for it.
        agents: Number of agents.
        command: Command line of an agent, but for its element.
        ncpus: Cores of an agent.
        memory: MB of an agent, 0 for whatever the site gives.
        gpus: Devices of an agent.
        walltime: Seconds until it is ended, 0 for whatever the site gives.
        grace: Seconds that jobs get when their agent has to go.
        throttle: Most of them at once, 0 for no limit; of each part where there are several.
        variables: More variables of the template, such as `partition` or `account`.
        template: Name or path of the template, "" for the one of the batch system.
        directives_skip: Directives that begin so are left out.
        directives_extra: Directives to add.
        setup: Shell lines before the agent is started.
        env: Variables for its environment.
        work_dir: Where it is started.
        hosts: Hosts that may get one, where agents are started host by host.
        max_load: Most load a core of a host that gets one, 0 for any.
    """

    id: str
    pool: str
    agents: int
    command: tuple[str, ...]
    ncpus: int = 1
    memory: float = 0.0
    gpus: int = 0
    walltime: float = 0.0
    grace: float = GRACE
    throttle: int = 0
    variables: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    directives_skip: tuple[str, ...] = ()
    directives_extra: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    work_dir: str = "/"
    hosts: tuple[str, ...] = ()
    max_load: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Hold what came of a request.

    Attributes:
        ids: The batch system's names of the arrays, one for each part.
        elements: Its names of the agents: the first is element 1. Fewer than were asked for, or ""
            in place of some, where those were not submitted.
        shortfall: Why they are fewer than were asked for, "" where they are not.
    """

    ids: tuple[str, ...]
    elements: tuple[str, ...]
    shortfall: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Hold what a batch system allows.

    Attributes:
        max_array: Most elements of one array.
        version: Its version, "" where it does not tell.
        fields: Columns that its query knows, where versions differ.
    """

    max_array: int
    version: str = ""
    fields: str = ""


class Launcher(Protocol):
    """Submit agents, tell their states, cancel them.

    Every call asks the batch system once for all that it is about. What that cannot do now raises
    `LaunchPostponed`, what it never will do `LaunchRefused`, both with its own words.
    """

    @property
    def parameters(self) -> Parameters:
        """Return what the batch system allows, asked once."""

    def submit(self, request: AllocationRequest) -> Submitted:
        """Submit agents: one array, or several where one may not be so large."""

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Return the status of every one of these elements, by one query."""

    def cancel(self, ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        """End whole arrays, or only some elements; who is gone already is none the worse."""
