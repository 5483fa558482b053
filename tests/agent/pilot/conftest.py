"""A registry with a real broker, fed by hand, and real agents on it."""

from __future__ import annotations

import pickle
import secrets
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import msgpack
import pytest
from tests.conftest import wait_until

from batchpilot_agent.launch import launch_local
from batchpilot_agent.manifest import Manifest, python_minor
from batchpilot_agent.objects import ObjectStore
from batchpilot_broker.access import Access, write_access
from batchpilot_broker.accounts import RECORD, for_agents
from batchpilot_broker.connect import connect
from batchpilot_broker.coordside import CoordinatorBroker
from batchpilot_broker.files import write_json
from batchpilot_broker.frames import EVENT_ROW_SIZE, ROW, Frame, Kind, frame_at, scan
from batchpilot_broker.generation import settle_generation, wipe
from batchpilot_broker.host import remove_runtime_dir, runtime_dir
from batchpilot_broker.nouns import (
    Chunk,
    Isolation,
    JobRange,
    Outcome,
    Reason,
    Report,
    ResourceClass,
)
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.server import start_server, stop_server

from .marks import Marks
from .stage import Stage


class Row(NamedTuple):
    """One outcome as an event tells it."""

    pos: int
    job: int
    attempt: int
    outcome: Outcome
    reason: Reason
    slot: int
    log_size: int
    started: float
    ended: float
    log_pos: int
    memory: float
    size: int


@dataclass
class Bench:
    """A registry, its coordinator's end of the broker, and its agents."""

    paths: RegistryPaths
    instance: str
    broker: CoordinatorBroker
    store: ObjectStore
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    _after: str = "0"
    _chunks: int = 0

    def epoch(self, function: Callable[..., Any], *names: str) -> str:
        """Store a function as an epoch, with its module's code in its pickle."""
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
        names = names or function.__code__.co_varnames[: function.__code__.co_argcount]
        return self.epoch_of(cloudpickle.dumps(function), *names)

    def epoch_of(self, pickled: bytes, *names: str) -> str:
        """Store a pickled function as an epoch; a parameter called `job` is passed the job."""
        manifest = Manifest(
            function=self.store.put(pickled),
            names=tuple(name for name in names if name != "job"),
            passes_job="job" in names,
            work_dir=str(self.paths.root),
            python=python_minor(),
        )
        return self.store.put(manifest.to_bytes())

    def feed(  # noqa: PLR0913 - the fields of a chunk
        self,
        epoch: str,
        values: Sequence[tuple[Any, ...]],
        *,
        ranges: Sequence[JobRange] = (),
        resources: ResourceClass | None = None,
        isolation: Isolation = Isolation.SLOT,
        budget: float = 60.0,
        attempt: int = 1,
    ) -> Chunk:
        """Feed a chunk; without ranges, jobs are numbered from 100 x its number."""
        self._chunks += 1
        resources = resources or ResourceClass()
        first = 100 * self._chunks
        class_id = f"{hash(resources) & 0xFFFFFFFFFFFF:012x}"
        pickles = [pickle.dumps(value) for value in values]
        ends = [0]
        for data in pickles:
            ends.append(ends[-1] + len(data))
        chunk = Chunk(
            id=self._chunks,
            class_id=class_id,
            epoch=epoch,
            attempt=attempt,
            ranges=tuple(ranges) or ((first, first + len(values) - 1),),
            offsets=struct.pack(f"<{len(ends)}I", *ends),
            pars=b"".join(pickles),
            budget=budget,
            isolation=isolation,
            resources=resources,
            seed=1,
        )
        self.broker.announce(class_id, resources)
        self.broker.feed([chunk])
        return chunk

    def agent(self, name: str = "a1", *, slots: int = 1, **options: Any) -> subprocess.Popen[bytes]:
        """Start an agent while a coordinator lives."""
        self.broker.alive(1)
        return self.lone_agent(name, slots=slots, **options)

    def lone_agent(
        self, name: str = "a1", *, slots: int = 1, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start an agent; whether a coordinator lives is not touched."""
        process = launch_local(self.paths, agent_id=name, pool="local", slots=slots, **options)
        self.agents.append(process)
        return process

    def agent_there(self, name: str = "a1", **options: Any) -> subprocess.Popen[bytes]:
        """Start an agent and wait until the broker knows it."""
        process = self.agent(name, **options)
        wait_until(lambda: name in self.broker.agents())
        return process

    def look(self) -> None:
        """Read the events that have come."""
        self.broker.alive(1)
        for entry, event in self.broker.read(self._after, block_ms=0):
            self._after = entry
            if isinstance(event, Report):
                self.reports.append(event)
            else:
                self.events.append(event)

    def said(self) -> list[dict[str, Any]]:
        """Return the events so far that are no reports."""
        self.look()
        return self.events

    def rows(self) -> dict[int, Row]:
        """Return the outcomes told so far, by job; none is told twice."""
        self.look()
        found: dict[int, Row] = {}
        for report in self.reports:
            for at in range(0, len(report.rows), EVENT_ROW_SIZE):
                pos = int.from_bytes(report.rows[at : at + 8], "little")
                job, attempt, outcome, reason, *rest = ROW.unpack_from(report.rows, at + 8)
                assert job not in found
                found[job] = Row(pos, job, attempt, Outcome(outcome), Reason(reason), *rest)
        return found

    def await_rows(self, *jobs: int, seconds: float = 60.0) -> dict[int, Row]:
        """Wait until the outcomes of some jobs are told."""
        wait_until(lambda: set(jobs) <= self.rows().keys(), seconds)
        return self.rows()

    def notes(self, kind: Kind) -> list[Any]:
        """Return the payloads of other frames that were told."""
        self.look()
        return [p for report in self.reports for k, p in report.notes if k == kind]

    def handed_back(self) -> list[tuple[int, list[list[int]], str, bool]]:
        """Return (chunk, ranges, reason, charged) of what was handed back."""
        return [tuple(msgpack.unpackb(p)) for p in self.notes(Kind.HANDED_BACK)]

    def running(self) -> set[int]:
        """Return the jobs that were told running."""
        self.look()
        return {job for report in self.reports for job, *_ in report.running}

    def body(self, row: Row, agent: str = "a1") -> bytes:
        """Return what stands behind a row in its segment."""
        data = memoryview(self.paths.results(agent).read_bytes())
        frame = frame_at(data, row.pos)
        assert frame is not None
        return bytes(frame.payload[ROW.size :])

    def log(self, agent: str = "a1") -> bytes:
        """Return the bytes of all LOG frames of an agent."""
        frames = scan(self.paths.job_logs(agent).read_bytes())
        parts = [f.payload[20:] for f in frames if isinstance(f, Frame) and f.kind == Kind.LOG]
        return b"".join(map(bytes, parts))

    def words(self, agent: str = "a1") -> str:
        """Return what an agent's log says."""
        return (self.paths.logs / f"{agent}.log").read_text()

    def end(self) -> None:
        """End the agents; their keepers clean up."""
        for process in self.agents:
            if process.poll() is None:
                process.terminate()
        for process in self.agents:
            try:
                process.wait(60)
            finally:
                process.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    root = tmp_path_factory.mktemp("server")
    paths = RegistryPaths(root)
    paths.secret.write_bytes(secrets.token_bytes(32))
    access = start_server(paths, f"test{secrets.token_hex(6)}", generation=0)
    yield access
    stop_server(paths, access, discard=True)


@pytest.fixture
def bench(tmp_path: Path, server: Access) -> Iterator[Bench]:
    paths, instance = RegistryPaths(tmp_path / "registry"), f"test{secrets.token_hex(6)}"
    for directory in (paths.root, paths.objects, paths.segments, paths.logs):
        directory.mkdir(mode=0o700)
    paths.secret.write_bytes(secrets.token_bytes(32))
    write_json(paths.owner, {"instance": instance})
    with closing(connect(server)) as client:
        access = replace(server, generation=settle_generation(client, instance, 0))
        write_json(runtime_dir(instance) / RECORD, asdict(access))
        write_access(paths, for_agents(access))
        with closing(CoordinatorBroker.open(paths, instance)) as broker:
            broker.take(1)
            bench = Bench(paths, instance, broker, ObjectStore(paths.objects))
            yield bench
            bench.end()
        wipe(client, instance)
    remove_runtime_dir(instance)


MakeStage = Callable[..., Stage]


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[MakeStage]:
    """Give a function that sets up a pilot in this process, with options of its settings."""
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(tmp_path, **options))
        stages[-1].step()
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(staged: MakeStage) -> Stage:
    """Give a pilot in this process."""
    return staged()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """Give what jobs and tests tell each other how far they are with."""
    return Marks(tmp_path)
