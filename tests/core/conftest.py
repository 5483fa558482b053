"""Registries made by hand: states, segments and logs as agents and coordinator leave them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import msgpack
import numpy as np
import pytest

from batchpilot.pools import Interactive
from batchpilot.registry.whole import (
    ExperimentRegistry,
    Registry,
    make_experiment_registry,
    make_registry,
)
from batchpilot.store.pages import State
from batchpilot_broker.frames import LOG, NO_PART, ROW, Kind, pack_frame, pack_row
from batchpilot_broker.nouns import Outcome, Reason


SUBMITTED = 1_700_000_000.0
STARTED = SUBMITTED + 2.5
ENDED = STARTED + 1.25

_STATES = {
    Outcome.DONE: State.DONE,
    Outcome.ERROR: State.ERROR,
    Outcome.EXPIRED: State.EXPIRED,
    Outcome.LOST: State.EXPIRED,
}


class HandMade:
    """A registry, and the hands that put into it what no agent of this test has done.

    The bytes are those of docs/protocol.md: frames in segments, event rows in outcomes.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._segments: dict[str, int] = {}

    def submit(self, ids: Sequence[int], resources: dict[str, Any] | None = None) -> int:
        """Mark jobs as queued under a new submission."""
        with self.registry.database.write() as tx:
            tx.execute("add_class", "c" * 12, b"")
            packed = msgpack.packb(dict(sorted((resources or {}).items())))
            number = tx.execute(
                "add_submission", SUBMITTED, "c" * 12, "e" * 64, packed, 0, b""
            ).lastrowid
            array = np.array(ids, np.int64)
            tx.pages.put("submission", array, int(number or 0))
            tx.pages.put("state", array, State.QUEUED)
            tx.pages.put("outcome", array, 0)
        return int(number or 0)

    def run(self, job: int, agent: str = "a1", log: bytes | None = None) -> None:
        """Mark a job as running; with a log, that much of it is mirrored."""
        pos = -1 if log is None else self.write_log(agent, job, [log])[0]
        self._segment(agent)
        with self.registry.database.write() as tx:
            tx.pages.put("state", np.array([job]), State.RUNNING)
            tx.execute("add_running", job, 1, agent, STARTED, pos)

    def done(self, job: int, result: Any, agent: str = "a1", log: Sequence[bytes] = ()) -> None:
        """End a job with a result."""
        self.end(agent, [(job, Outcome.DONE, cloudpickle.dumps(result), log)])

    def error(
        self, job: int, message: str = "broken", agent: str = "a1", log: Sequence[bytes] = ()
    ) -> None:
        """End a job with an exception."""
        trace = f"Traceback (most recent call last):\n  in f\nValueError: {message}\n"
        body = msgpack.packb(["ValueError", message, trace])
        self.end(agent, [(job, Outcome.ERROR, body, log)])

    def expired(
        self, job: int, text: str = "", agent: str = "a1", started: float = STARTED
    ) -> None:
        """End a job by its walltime."""
        body = msgpack.packb(text) if text else b""
        self.end(agent, [(job, Outcome.EXPIRED, body, ())], Reason.WALLTIME, started)

    def end(
        self,
        agent: str,
        jobs: Sequence[tuple[int, Outcome, bytes, Sequence[bytes]]],
        reason: Reason = Reason.NONE,
        started: float = STARTED,
    ) -> None:
        """Write records of ends to a segment and apply them as one event."""
        rows = b""
        for job, outcome, body, log in jobs:
            log_pos, log_size = self.write_log(agent, job, log)
            row = (job, 1, outcome, reason, 0, log_size, started, ENDED, log_pos, 0.0)
            frame = pack_row(row, body)
            pos = _append(self.registry.paths.results(agent), frame)
            rows += pos.to_bytes(8, "little") + frame[12 : 12 + ROW.size]
        segment = self._segment(agent)
        ids = np.array([job for job, *_ in jobs])
        with self.registry.database.write() as tx:
            number = tx.execute("add_outcome", segment, rows).lastrowid
            tx.pages.put("outcome", ids, int(number or 0))
            tx.pages.put("state", ids, np.array([_STATES[outcome] for _, outcome, *_ in jobs]))
            tx.db.executemany("DELETE FROM running WHERE job = ?", [(job,) for job in ids.tolist()])

    def write_log(self, agent: str, job: int, parts: Sequence[bytes]) -> tuple[int, int]:
        """Append parts of a job's log, chained; return where the last is and how long all are."""
        pos = NO_PART
        for number, part in enumerate(parts):
            frame = pack_frame(Kind.LOG, LOG.pack(job, 1, pos, number), part)
            pos = _append(self.registry.paths.job_logs(agent), frame)
        return pos, sum(map(len, parts))

    def _segment(self, agent: str) -> int:
        if agent not in self._segments:
            for path in (self.registry.paths.results(agent), self.registry.paths.job_logs(agent)):
                path.touch()
            with self.registry.database.write() as tx:
                tx.execute("add_agent", agent, "local", "node7", 1, "idle", 1, time.time(), b"\x80")
                name = f"{agent}.results"
                self._segments[agent] = int(tx.execute("add_segment", name, agent).lastrowid or 0)
        return self._segments[agent]


def _append(path: Path, frame: bytes) -> int:
    with path.open("ab") as file:
        file.write(frame)
        return file.tell() - len(frame)


Make = Callable[..., HandMade]


@pytest.fixture
def hand_made(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes a registry whose jobs have the vectors given."""
    made: list[Registry] = []

    def make(fun: Callable[..., Any] | None = None, *, seed: int = 1, **vectors: Any) -> HandMade:
        registry = make_registry(tmp_path / f"registry{len(made)}", seed=seed, work_dir=tmp_path)
        made.append(registry)
        registry.batch_map(fun or (lambda **_: None), **(vectors or {"i": range(1, 11)}))
        return HandMade(registry)

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def lecture(hand_made: Make) -> HandMade:
    """Give the lecture's map, i=1:9 and j=9:1, with all jobs done: f(i, j) = i + j."""
    hand = hand_made(_add, i=range(1, 10), j=range(9, 0, -1))
    hand.submit(range(1, 10), {"walltime": 3600, "memory": 2000})
    for job in range(1, 10):
        hand.done(job, 10, log=[b""] if job > 8 else [f"job {job}\n".encode()])
    return hand


def _add(i: int, j: int) -> int:
    return i + j


MakeHere = Callable[[], Registry]


@pytest.fixture
def make_here(tmp_path: Path) -> Iterator[MakeHere]:
    """Give a function that makes registries whose jobs run in this process."""
    made: list[Registry] = []

    def make() -> Registry:
        registry = make_registry(tmp_path / f"here{len(made)}", seed=1, work_dir=tmp_path)
        made.append(registry)
        registry.pools = Interactive()
        return registry

    yield make
    for registry in made:
        registry.close()


MakeExperiments = Callable[..., ExperimentRegistry]


@pytest.fixture
def make_experiments(tmp_path: Path) -> Iterator[MakeExperiments]:
    """Give a function that makes registries of experiments whose jobs run in this process."""
    made: list[ExperimentRegistry] = []

    def make(seed: int = 1) -> ExperimentRegistry:
        registry = make_experiment_registry(
            tmp_path / f"experiments{len(made)}", seed=seed, work_dir=tmp_path
        )
        made.append(registry)
        registry.pools = Interactive()
        return registry

    yield make
    for registry in made:
        registry.close()
