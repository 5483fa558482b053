"""A batch system in memory, and a coordinator that asks it for agents."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchpilot.coordinator.allocator import GATHER, LOOK_EVERY, Allocator
from batchpilot.coordinator.judge import SUSPECT_AFTER
from batchpilot.store.allocations import Pilot, pilots_alive
from batchpilot.store.launches import LaunchFailure, launch_failures
from batchpilot_agent.launchers.keeping import make_place
from batchpilot_agent.launchers.nouns import (
    AllocationRequest,
    ElementState,
    ElementStatus,
    Parameters,
    Submitted,
)
from batchpilot_broker.nouns import AgentInfo, ResourceClass


if TYPE_CHECKING:
    from .conftest import Agent, Bench

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
GONE = ElementStatus(state=ElementState.UNKNOWN, known=False)
DEAD = ElementStatus(state=ElementState.ENDED, reason="FAILED", failed=True)


@dataclass
class MemoryLauncher:
    """A batch system in memory.

    Attributes:
        requests: What was asked for.
        status: What it says of its elements.
        cancelled: What was cancelled.
        queries: What it was asked about.
        trouble: Raised at every call.
        shortfall: Why requests come to fewer agents, "" where they do not.
        untaken: Numbers of the agents that are not taken, as of hosts that are not there.
    """

    parameters: Parameters = field(default_factory=lambda: Parameters(max_array=1000))
    requests: list[AllocationRequest] = field(default_factory=list)
    status: dict[str, ElementStatus] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    queries: list[Sequence[str]] = field(default_factory=list)
    trouble: Exception | None = None
    shortfall: str = ""
    untaken: frozenset[int] = frozenset()

    def submit(self, request: AllocationRequest) -> Submitted:
        """Take a request."""
        self.requests.append(request)
        self._answer()
        array = str(len(self.requests))
        numbers = range(1, request.agents + 1)
        elements = tuple("" if n in self.untaken else f"{array}_{n}" for n in numbers)
        queued = ElementStatus(state=ElementState.QUEUED, reason="Priority")
        self.status |= dict.fromkeys(filter(None, elements), queued)
        return Submitted(ids=(array,), elements=elements, shortfall=self.shortfall)

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Tell what is known."""
        self.queries.append(list(ids))
        self._answer()
        return {id_: self.status.get(id_, GONE) for id_ in ids}

    def cancel(self, ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        """End elements."""
        self._answer()
        self.cancelled += ids if elements is None else elements

    def _answer(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Done:
    """An errand that is done at once."""

    done = True

    def __init__(self, job: Callable[[], Any]) -> None:
        self._job = job

    def wait(self, seconds: float) -> None:
        """It needs no waiting for."""

    def result(self) -> Any:
        """Do it."""
        return self._job()


class Never(Done):
    """An errand that never comes to an end."""

    done = False


@dataclass
class Site:
    """A desk with one pool of a batch system."""

    bench: Bench
    launcher: MemoryLauncher
    allocator: Allocator
    now: float = 1000.0

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass and some rounds go by: an errand is taken in at the next one."""
        self.now += seconds
        for _ in range(4):
            self.allocator.tick(self.now)

    def work(self, jobs: int = 8, needed: ResourceClass | None = None) -> None:
        """Have jobs queued, and agents submitted for them."""
        self.bench.book.define(jobs)
        self.bench.book.queue(range(1, jobs + 1), needed or ResourceClass())
        self.tick()
        self.tick(GATHER)

    def arrive(
        self, number: int, *, python: str = PYTHON, again: str = "", deadline: float = 0.0
    ) -> str:
        """Let the agent of an element of the first request that was taken register."""
        taken = {pilot.allocation for pilot in self.pilots()}
        request = next(request for request in self.launcher.requests if request.id in taken)
        name = f"agent{number}-{request.id}{again}"
        info = AgentInfo(
            id=name,
            pool="slurm",
            host="far-away",
            boot="b",
            pid=1,
            pid_start=1,
            slots=1,
            cores=1,
            python=python,
            started=self.now,
            deadline=deadline,
            allocation=f"{request.id}.{number}",
        )
        self.bench.broker.register(info)
        self.bench.look()
        self.tick()
        return name

    def do_a_chunk(self, agent: str) -> None:
        """Let an agent that has arrived begin a chunk and end it."""
        writer = self.begin_a_chunk(agent)
        writer.end_chunk(1, 1)
        self.bench.hear(writer.report())
        self.tick()

    def begin_a_chunk(self, agent: str) -> Agent:
        """Let an agent that has arrived begin a chunk."""
        writer = self.bench.writer(agent)
        writer.begin_chunk(1)
        self.bench.hear(writer.report())
        return writer

    def live(self, agent: str, seconds: int) -> None:
        """Let time pass in which an agent shows that it lives."""
        self.bench.wait(seconds, agent)
        self.tick(seconds)

    def leave(self, agent: str, bye: str) -> None:
        """Let an agent say good-bye."""
        self.bench.broker.leave(agent)
        self.bench.judge.end(agent, "left", self.now, bye=bye)
        self.tick()

    def die(self, agent: str) -> None:
        """Let the job of an agent fail, and its batch system and the coordinator learn of it."""
        (pilot,) = (pilot for pilot in self.pilots() if pilot.agent == agent)
        self.launcher.status[pilot.id] = DEAD
        self.bench.clock += SUSPECT_AFTER + 1  # so long nothing is heard of it
        self.tick(LOOK_EVERY)

    def say(self, pilot: Pilot, words: str) -> None:
        """Let an agent that was asked for have written something."""
        output = self.bench.desk.paths.element_output(*pilot.key)
        make_place(output.parent)
        output.write_text(words)

    def pilots(self) -> list[Pilot]:
        """Return the agents asked for as the registry has them."""
        with self.bench.desk.db.read() as tx:
            return pilots_alive(tx)

    def failures(self) -> list[LaunchFailure]:
        """Return what the registry keeps of failures."""
        with self.bench.desk.db.read() as tx:
            return launch_failures(tx, self.now)

    def stages(self) -> list[str]:
        """Return the stages of the agents asked for."""
        return [str(pilot.stage) for pilot in self.pilots()]


def allocator_of(bench: Bench, launcher: MemoryLauncher, errand: Any = Done) -> Allocator:
    return Allocator(
        bench.desk, bench.judge, launcher=lambda _kind, _paths: launcher, errand=errand
    )
