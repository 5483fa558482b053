"""A broker in this process's memory with the same interface as the real one, and a pilot on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchpilot_agent.settings import Settings
from batchpilot_broker.agentside import Beat
from batchpilot_broker.errors import BrokerUnavailable
from batchpilot_broker.files import write_json
from batchpilot_broker.nouns import (
    AgentInfo,
    AgentState,
    Chunk,
    Isolation,
    Report,
    ResourceClass,
)
from batchpilot_broker.paths import RegistryPaths


class MemoryBroker:
    """Queue chunks, keep leases, note what agents say; fail on demand."""

    def __init__(self, generation: int = 1) -> None:
        self.generation = generation
        self.table: dict[str, ResourceClass] = {}
        self.queue: deque[Chunk] = deque()
        self.agents: dict[str, AgentInfo] = {}
        self.leases: dict[int, str] = {}
        self.finished: list[tuple[int, int]] = []
        self.reports: list[Report] = []
        self.said: list[dict[str, Any]] = []
        self.beats: list[tuple[AgentState, int, int]] = []
        self.offers: list[list[tuple[str, int]]] = []
        self.listening: tuple[str, ...] | None = None
        self.inbox: list[dict[str, Any]] = []
        self.coordinator_alive = True
        self.down = False
        self.followed = False
        self.closed = 0

    def open(self) -> MemoryBroker:
        """Be opened by an agent."""
        self._check()
        return self

    def feed(self, chunk: Chunk) -> None:
        """Queue a chunk."""
        self.table[chunk.class_id] = chunk.resources
        self.queue.append(chunk)

    def register(self, info: AgentInfo) -> None:
        """Note an agent."""
        self._check()
        self.agents[info.id] = info

    def classes(self) -> dict[str, ResourceClass]:
        """Return the classes that were fed."""
        self._check()
        return dict(self.table)

    def claim(self, agent: str, class_ids: Sequence[tuple[str, int]]) -> Chunk | None:
        """Return the first chunk of an offered class."""
        self._check()
        self.offers.append(list(class_ids))
        offered = {name for name, _ in class_ids}
        for chunk in self.queue:
            if chunk.class_id in offered:
                self.queue.remove(chunk)
                self.leases[chunk.id] = agent
                return chunk
        return None

    def finish(self, agent: str, chunk: int, *, jobs: int, seconds: float) -> None:
        """End a lease that the agent holds."""
        self._check()
        assert self.leases.pop(chunk) == agent
        assert seconds >= 0
        self.finished.append((chunk, jobs))

    def hold(self, agent: str, chunks: Sequence[int]) -> None:
        """Note leases again."""
        self._check()
        self.leases.update(dict.fromkeys(chunks, agent))

    def report(self, report: Report) -> None:
        """Note a report."""
        self._check()
        self.reports.append(report)

    def send(self, kind: str, **fields: Any) -> None:
        """Note an event."""
        self._check()
        self.said.append({"kind": kind, **fields})

    def beat(self, agent: str, state: AgentState, busy: int, held: int) -> Beat:
        """Note a beat and answer as told to."""
        self._check()
        self.beats.append((state, busy, held))
        return Beat(
            generation=self.generation,
            coordinator_alive=self.coordinator_alive,
            unfinished=0,
            known=agent in self.agents,
        )

    def leave(self, agent: str) -> None:
        """Forget an agent."""
        self._check()
        del self.agents[agent]

    def listen(self, agent: str, class_ids: Sequence[str]) -> None:
        """Note what is listened for."""
        self._check()
        assert agent in self.agents
        self.listening = tuple(class_ids)

    def fileno(self) -> int | None:
        """Return nothing to poll: tests hand messages to the pilot."""
        return None

    def receive(self) -> list[dict[str, Any]]:
        """Return what lies in the inbox."""
        self._check()
        came, self.inbox = self.inbox, []
        return came

    def replaced(self, paths: RegistryPaths) -> bool:  # noqa: ARG002 - as the real one
        """Tell what the test has said."""
        return self.followed

    def close(self) -> None:
        """Count the closings."""
        self.closed += 1

    def _check(self) -> None:
        if self.down:
            raise BrokerUnavailable("the broker is down", remedy="wait")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def settings_in(directory: Path, **options: Any) -> Settings:
    """Return the settings of an agent of a new registry in a directory."""
    paths = RegistryPaths(directory / "registry")
    paths.segments.mkdir(parents=True)
    write_json(paths.owner, {"instance": "i1"})
    scratch = directory / "scratch"
    scratch.mkdir()
    known: dict[str, Any] = {"slots": 2, "cores": 2, **options}
    return Settings(paths=paths, instance="i1", agent="a1", pool="local", scratch=scratch, **known)


def chunk_of(number: int, jobs: int = 1, **fields: Any) -> Chunk:
    """Return a chunk whose jobs are numbered from 100 x its number."""
    resources = fields.pop("resources", ResourceClass())
    known: dict[str, Any] = {
        "class_id": f"{hash(resources) & 0xFFFFFFFF:x}",
        "epoch": "e" * 64,
        "attempt": 1,
        "ranges": ((100 * number, 100 * number + jobs - 1),),
        "offsets": b"".join((4 * n).to_bytes(4, "little") for n in range(jobs + 1)),
        "pars": b"".join(b"p%03d" % n for n in range(jobs)),
        "budget": 60.0,
        "isolation": Isolation.SLOT,
        "seed": 1,
        **fields,
    }
    return Chunk(id=number, resources=resources, **known)
