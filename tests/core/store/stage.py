"""A registry whose coordinators, agents and broker do their real work in memory, step by step.

Database, segments and duties are the real ones; the broker is `MemoryBroker`; agents are the few
lines below: they hold chunks, write records, tell or do not tell of them, and may be frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.core.book import CLASS, Book, array
from tests.core.coordinator.conftest import Agent, Bench
from tests.core.coordinator.memory_broker import MemoryBroker

from batchpilot.coordinator.desk import Desk
from batchpilot.coordinator.happenings import Bus
from batchpilot.pools import Local
from batchpilot.registry.base import make_files
from batchpilot.repair import Repaired, repair
from batchpilot.store.changing import revoke
from batchpilot.store.database import Database
from batchpilot.store.owner import Office, read_owner
from batchpilot.store.tombstones import coordinator_segment
from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_broker.nouns import AgentInfo, Chunk, Outcome, Report


class View(MemoryBroker):
    """One coordinator's connection to a broker: its own term, the same data and office.

    Args:
        shared: The broker.
    """

    def __init__(self, shared: MemoryBroker) -> None:
        self.__dict__.update(shared.__dict__)
        self._shared = shared

    @property
    def office(self) -> int:
        """Return the highest term that has taken office."""
        return self._shared.office

    @office.setter
    def office(self, term: int) -> None:
        self._shared.office = term


@dataclass
class Worker:
    """An agent, as far as the registry can tell.

    Attributes:
        agent: Writes its segment.
        info: What it announced.
        frozen: Whether it gives no sign of life.
        left: Jobs of the chunk it holds that it has not ended, in their order.
        chunk: The chunk it holds.
        reports: All that it ever told.
    """

    agent: Agent
    info: AgentInfo
    frozen: bool = False
    chunk: Chunk | None = None
    left: list[int] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)


class Stage:
    """Hold the registry, the coordinator in office, and the workers.

    Args:
        root: Where the registry is made.
    """

    def __init__(self, root: Path) -> None:
        self.paths = make_files(root, seed=1, kind="map", work_dir=root.parent)
        self.broker = MemoryBroker()
        self.workers: dict[str, Worker] = {}
        self.names = 0
        self.clock = 1000.0
        self._ends = ExitStack()
        self.predecessor: Bench | None = None
        self.bench = self._take_office()

    def close(self) -> None:
        """Close what was opened."""
        self._ends.close()

    @property
    def book(self) -> Book:
        """Return the database's book."""
        return self.bench.book

    def _take_office(self) -> Bench:
        database = Database(self.paths)
        self._ends.callback(database.close)
        self.office = Office(self.paths, database)
        term = self.office.take()
        instance = read_owner(self.paths).instance
        segment = self.paths.segments / coordinator_segment(term)
        create_segment(segment, segment.stem, instance)
        broker = View(self.broker)
        broker.take(term)
        writer = SegmentWriter(segment)
        self._ends.callback(writer.close)
        desk = Desk(
            paths=self.paths,
            instance=instance,
            db=database,
            broker=broker,
            term=term,
            bus=Bus(),
            segment=writer,
            segment_name=segment.name,
            seed=1,
            pools=[Local(slots=2)],
        )
        bench = Bench(Book(database), desk, broker, clock=self.clock)
        bench.applier.read_tails()
        bench.judge.start()
        bench.look()
        bench.auditor.audit(self.clock, youngest=0.0)
        return bench

    # The coordinator.

    def restart(self) -> None:
        """Let another coordinator take over; the one before does not know."""
        self.predecessor = self.bench
        self.bench = self._take_office()

    def feed(self) -> None:
        """Feed what there is room for."""
        self.clock += 1.0
        self.bench.feeder.tick(self.clock)

    def wait(self, seconds: float) -> None:
        """Let time pass for all, those who live beating."""
        beating = [name for name, worker in self.workers.items() if not worker.frozen]
        for name in beating:
            if name not in self.broker.known:
                self._announce(name)
        self.bench.clock = self.clock
        self.bench.wait(seconds, *beating)
        self.clock = self.bench.clock

    def audit(self) -> None:
        """Audit."""
        self.clock += 10.0
        self.bench.auditor.audit(self.clock)

    def lose_broker(self) -> None:
        """Lose all that the broker holds; the coordinator opens it anew, agents announce."""
        broker = self.broker
        for clear in (broker.chunks.clear, broker.held.clear, broker.known.clear):
            clear()
        for clear in (broker.queues.clear, broker.moved.clear, broker.shown.clear):
            clear()
        self.bench.judge.restart_watch()
        self.bench.feeder.forget_broker()
        for name, worker in self.workers.items():
            if not worker.frozen:
                self._announce(name)
        self.clock += 20.0
        self.bench.look()
        self.bench.auditor.audit(self.clock, youngest=0.0)

    def back_up(self) -> None:
        """Copy the database."""
        self.book.database.back_up(1)

    def repair(self, *, destroyed: bool) -> Repaired:
        """Stop the coordinator, destroy the database or not, repair, go on."""
        self.office.leave()
        database = self.book.database
        database.close()
        if destroyed:
            for path in self.paths.root.glob(f"{database.path.name}*"):
                path.unlink()
            database.path.write_bytes(b"no database" * 1000)
        repaired = repair(self.paths)
        self.predecessor = None
        self.bench = self._take_office()
        return repaired

    # Sessions.

    def submit(self, ids: Sequence[int]) -> None:
        """Submit jobs as `submit_jobs` does."""
        with self.book.database.write() as tx:
            revoke(tx, array(ids))
        self.book.queue(ids)
        self.bench.canceller.tick()

    def revoke(self, ids: Sequence[int]) -> None:
        """Kill or reset jobs, and let the coordinator carry the order out."""
        with self.book.database.write() as tx:
            revoke(tx, array(ids))
        self.bench.canceller.tick()
        for worker in self.workers.values():
            if worker.chunk is not None and not worker.frozen:
                worker.left = [job for job in worker.left if job not in ids]

    # Agents.

    def hire(self) -> None:
        """Let an agent register."""
        self.names += 1
        name = f"a{self.names}"
        self.bench.clock = self.clock
        agent = self.bench.agent(name)
        self.workers[name] = Worker(agent, self.broker.known[name])

    def claim(self, name: str) -> None:
        """Let an agent without a chunk claim one and begin it."""
        worker = self.workers[name]
        worker.chunk = self.bench.claim(name, CLASS)
        worker.left = worker.chunk.ids()
        worker.agent.begin_chunk(worker.chunk.id, self.clock)

    def finish(self, name: str, outcome: Outcome) -> None:
        """Let an agent end its next job."""
        worker = self.workers[name]
        assert worker.chunk is not None
        worker.agent.end(worker.left.pop(0), outcome, worker.chunk.attempt)
        if not worker.left:
            self._end_chunk(name)

    def hand_back(self, name: str, reason: str) -> None:
        """Let an agent hand back what it has not ended."""
        worker = self.workers[name]
        assert worker.chunk is not None
        for job in worker.left:
            worker.agent.hand_back(worker.chunk.id, job, job, reason)
        self._end_chunk(name)

    def tell(self, name: str, *, heard: bool = True) -> None:
        """Let an agent report; the report may get lost."""
        worker = self.workers[name]
        running: tuple[tuple[int, int, float, int], ...] = ()
        if worker.chunk is not None and worker.left:
            running = ((worker.left[0], worker.chunk.attempt, 1.0, 0),)
        report = worker.agent.report(running=running)
        worker.reports.append(report)
        if heard:
            self.bench.hear(report)

    def repeat(self, name: str, number: int) -> None:
        """Let an old report come again."""
        self.bench.hear(self.workers[name].reports[number])

    def die(self, name: str) -> None:
        """Let the coordinator learn that an agent is dead."""
        self.bench.judge.end(name, "lost", self.clock)
        del self.workers[name]

    def _end_chunk(self, name: str) -> None:
        worker = self.workers[name]
        assert worker.chunk is not None
        worker.agent.end_chunk(worker.chunk.id, worker.chunk.size)
        if self.broker.held.get(worker.chunk.id) == name:
            del self.broker.held[worker.chunk.id]
        worker.chunk, worker.left = None, []

    def _announce(self, name: str) -> None:
        """Let an agent register again, with what it holds."""
        worker = self.workers[name]
        held = [] if worker.chunk is None else [worker.chunk.id]
        self.broker.register(worker.info)
        for chunk in held:
            self.broker.held.setdefault(chunk, name)
        self.bench.auditor.hello(name, held)
