"""A coordinator's desk with a real database, real segments, and a broker in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

import msgpack
import pytest
from tests.core.book import CLASS, Book, open_book

from batchpilot.coordinator.applier import Applier
from batchpilot.coordinator.auditor import Auditor
from batchpilot.coordinator.canceller import Canceller
from batchpilot.coordinator.desk import Desk
from batchpilot.coordinator.feeder import Feeder
from batchpilot.coordinator.happenings import Bus, Happening
from batchpilot.coordinator.judge import Judge
from batchpilot.coordinator.releaser import Releaser
from batchpilot.coordinator.sizing import Sizer
from batchpilot.pools import Local, Slurm
from batchpilot.store.owner import Office, read_owner
from batchpilot.store.tombstones import coordinator_segment
from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_broker.frames import (
    ENDED,
    EVENT_ROW_SIZE,
    HEADER,
    NO_PART,
    ROW,
    STARTED,
    Kind,
    pack_frame,
    pack_row,
)
from batchpilot_broker.nouns import AgentInfo, Chunk, Outcome, Report

from .batch_site import MemoryLauncher, Site, allocator_of
from .memory_broker import MemoryBroker


H = TypeVar("H", bound=Happening)


class Agent:
    """Write what an agent writes: frames into its segment, and reports of them.

    Args:
        path: Its result segment.
        instance: The registry's instance.
    """

    def __init__(self, path: Path, instance: str) -> None:
        self.id = path.stem
        self._path = path
        create_segment(path, self.id, instance)
        self.told = path.stat().st_size  # the head needs no telling
        self.start = self.told

    def end(self, job: int, outcome: Outcome = Outcome.DONE, attempt: int = 1) -> None:
        """Write the record of a job."""
        row = (job, attempt, outcome, 0, 0, 0, 1.0, 2.0, NO_PART, 0.0)
        self._append(pack_row(row, b"body"))

    def begin_chunk(self, chunk: int, started: float = 1.0) -> None:
        """Write that a chunk was begun."""
        self._append(pack_frame(Kind.CHUNK_STARTED, STARTED.pack(chunk, started, 0)))

    def end_chunk(self, chunk: int, jobs: int, seconds: float = 1.0) -> None:
        """Write that a chunk has ended."""
        self._append(pack_frame(Kind.CHUNK_ENDED, ENDED.pack(chunk, seconds, jobs)))

    def hand_back(self, chunk: int, first: int, last: int, reason: str) -> None:
        """Write that jobs are handed back."""
        body = msgpack.packb([chunk, [[first, last]], reason, False])
        self._append(pack_frame(Kind.HANDED_BACK, body))

    def report(self, *, running: tuple[tuple[int, int, float, int], ...] = ()) -> Report:
        """Tell what was written since the last report."""
        data = self._path.read_bytes()
        rows, notes, at = bytearray(), [], self.told
        while at < len(data):
            _, kind, _, length, _ = HEADER.unpack_from(data, at)
            payload = data[at + HEADER.size : at + HEADER.size + length]
            if kind == Kind.ROW:
                rows += at.to_bytes(8, "little") + payload[: ROW.size]
            else:
                notes.append((kind, payload))
            at += HEADER.size + length
        assert len(rows) % EVENT_ROW_SIZE == 0
        start, self.told = self.told, len(data)
        return Report(
            agent=self.id,
            segment=self._path.name,
            start=start if start > self.start else 0,
            end=len(data),
            rows=bytes(rows),
            notes=tuple(notes),
            running=running,
        )

    def _append(self, frame: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(frame)


@dataclass
class Bench:
    """The desk, the duties at it, and what they have told.

    Attributes:
        clock: Seconds of the judge's clock, moved by tests.
    """

    book: Book
    desk: Desk
    broker: MemoryBroker
    clock: float = 1000.0
    happened: list[Happening] = field(default_factory=list)
    agents: dict[str, Agent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desk.bus.listen(self.happened.append)
        self.sizer = Sizer()
        self.feeder = Feeder(self.desk, self.sizer)
        self.applier = Applier(self.desk, self.sizer)
        self.canceller = Canceller(self.desk)
        self.releaser = Releaser(self.desk)
        self.auditor = Auditor(self.desk, self.applier)
        self.judge = self.new_judge()

    def new_judge(self) -> Judge:
        """Return a judge that has seen nobody yet."""
        return Judge(self.desk, self.applier, monotonic=lambda: self.clock)

    def told(self, kind: type[H]) -> list[H]:
        """Return the happenings of a kind."""
        return [happening for happening in self.happened if isinstance(happening, kind)]

    def agent(self, name: str = "a1", *, slots: int = 2) -> Agent:
        """Let an agent of another host register."""
        self.broker.register(
            AgentInfo(
                id=name,
                pool="local",
                host="far-away",
                boot="b",
                pid=1,
                pid_start=1,
                slots=slots,
                cores=slots,
                python=f"{sys.version_info.major}.{sys.version_info.minor}",
            )
        )
        writer = self.writer(name)
        self.look()
        return writer

    def writer(self, name: str) -> Agent:
        """Give what writes the segment of an agent."""
        self.agents[name] = Agent(self.desk.paths.results(name), self.desk.instance)
        return self.agents[name]

    def look(self) -> None:
        """Let the judge look around."""
        self.judge.tick(self.clock)

    def wait(self, seconds: float, *beating: str) -> None:
        """Let time pass, some agents showing that they live, and look around each second."""
        for _ in range(int(seconds)):
            self.clock += 1.0
            for agent in beating:
                self.broker.beat(agent)
            self.look()

    def claim(self, agent: str = "a1", class_id: str = CLASS) -> Chunk:
        """Let an agent claim a chunk, and the judge see it."""
        chunk = self.broker.claim(agent, class_id)
        self.look()
        return chunk

    def hear(self, *reports: Report) -> None:
        """Apply reports."""
        self.applier.tick([(f"{at}-1", report) for at, report in enumerate(reports, 1)])


@contextmanager
def open_bench(root: Path) -> Iterator[Bench]:
    """Give a coordinator's desk in office, with one local pool of two slots."""
    with open_book(root) as book:
        database = book.database
        term = Office(database.paths, database).take()
        instance = read_owner(database.paths).instance
        segment = database.paths.segments / coordinator_segment(term)
        create_segment(segment, segment.stem, instance)
        broker = MemoryBroker()
        broker.take(term)
        desk = Desk(
            paths=database.paths,
            instance=instance,
            db=database,
            broker=broker,
            term=term,
            bus=Bus(),
            segment=SegmentWriter(segment),
            segment_name=segment.name,
            seed=1,
            pools=[Local(slots=2)],
        )
        yield Bench(book, desk, broker)
        desk.segment.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path / "registry") as bench:
        yield bench


@pytest.fixture
def new_bench(tmp_path: Path) -> Iterator[Callable[[], Bench]]:
    """Give a function that makes a desk, for the examples of a property."""
    with ExitStack() as stack:
        numbers = count()
        yield lambda: stack.enter_context(open_bench(tmp_path / f"registry{next(numbers)}"))


@pytest.fixture
def site(bench: Bench) -> Site:
    """Give a coordinator with a pool of a batch system in memory."""
    bench.desk.pools = [Slurm(slots=2, max_agents=10)]
    launcher = MemoryLauncher()
    return Site(bench, launcher, allocator_of(bench, launcher))
