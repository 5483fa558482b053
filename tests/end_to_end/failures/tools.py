"""Look behind the registry's face: processes, segments, what was applied and what was fed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgpack
import numpy as np
import psutil
from tests.conftest import Until, wait_until

import batchpilot as bp
from batchpilot.store.changing import ROW_DTYPE, Rows
from batchpilot.store.owner import read_owner
from batchpilot.store.pages import LIVE_STATES, State, read_column, unpack_ranges
from batchpilot.store.replay import read_stretch
from batchpilot_broker.access import Access, read_access
from batchpilot_broker.accounts import read_office
from batchpilot_broker.connect import connect
from batchpilot_broker.files import read_json
from batchpilot_broker.frames import Kind
from batchpilot_broker.host import process_start
from batchpilot_broker.nouns import Outcome


if TYPE_CHECKING:
    from redis import Redis


def coordinator_pid(registry: bp.Registry) -> int:
    """Return the coordinator in office, 0 where none lives."""
    owner = read_owner(registry.paths)
    return owner.pid if owner.coordinator_alive else 0


def supervisor_pid(registry: bp.Registry) -> int:
    """Return the supervisor that left its name last."""
    return int((read_json(registry.paths.logs / "supervisor.json") or {})["pid"])


def access_of(registry: bp.Registry) -> Access:
    """Return where the broker is."""
    access = read_access(registry.paths)
    assert access is not None
    return access


@contextmanager
def broker_of(registry: bp.Registry) -> Iterator[Redis]:
    """Give a client of the broker with all rights, as a stranger with the password has it."""
    access = read_office(registry.paths, registry.instance)
    assert access is not None
    client = connect(access)
    try:
        yield client
    finally:
        client.close()


def kill(*pids: int) -> float:
    """End processes as `kill -9` does, and return when; they are dead then."""
    assert all(pids)
    moment = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(process_start, pids)))
    return moment


def written(registry: bp.Registry) -> Rows:
    """Return the rows in all segments of agents."""
    segments = sorted(registry.paths.segments.glob("*.results"))
    rows = [read_stretch(p, 0).rows for p in segments if not p.name.startswith("coordinator-")]
    return np.concatenate([np.empty(0, ROW_DTYPE), *rows])


def applied(registry: bp.Registry) -> Rows:
    """Return the rows that the registry has applied, revoked ones too."""
    with registry.database.read() as tx:
        blobs = [blob for _, _, blob in tx.all("all_outcomes")]
    return np.frombuffer(b"".join(blobs), ROW_DTYPE)


def fed(registry: bp.Registry) -> list[tuple[int, int, int]]:
    """Return (chunk, jobs, attempt) of all that was ever fed."""
    chunks = []
    for path in sorted(registry.paths.segments.glob("coordinator-*.results")):
        for kind, payload in read_stretch(path, 0).notes:
            if kind == Kind.FED:
                chunk, ranges, attempt = msgpack.unpackb(payload)
                chunks.append((chunk, sum(last - first + 1 for first, last in ranges), attempt))
    return chunks


def started_by(agent: str) -> dict[psutil.Process, str]:
    """Return what runs with an agent's name in its environment, its jobs' programs too, by name."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("BATCHPILOT_AGENT") == agent:
                found[process] = process.name()
    return found


def held_by(registry: bp.Registry, agent: str) -> dict[int, int]:
    """Return the unfinished jobs that an agent holds, each with its attempt."""
    held: dict[int, int] = {}
    with registry.database.read() as tx:
        for _, _, _, attempt, ranges, _ in tx.all("chunks_of_agent", agent):
            ids = unpack_ranges(ranges)
            mine = np.isin(tx.pages.take("state", ids), LIVE_STATES)
            mine &= tx.pages.take("attempt", ids) == attempt
            held.update(dict.fromkeys(ids[mine].tolist(), attempt))
    return held


def on_again(registry: bp.Registry, jobs: dict[int, int]) -> bool:
    """Tell whether each job has ended, or runs in a later attempt than the one given."""
    ids = np.array(sorted(jobs), np.int64)
    with registry.database.read() as tx:
        states, attempts = tx.pages.take("state", ids), tx.pages.take("attempt", ids)
    later = attempts > np.array([jobs[job] for job in ids.tolist()])
    return bool(((states > State.RUNNING) | ((states == State.RUNNING) & later)).all())


def assert_each_done_once(registry: bp.Registry, jobs: int) -> None:
    """Check that each job is done, by one record, and that the one was applied once.

    Args:
        registry: The registry.
        jobs: How many it has.
    """
    with registry.database.read() as tx:
        states = read_column(tx.db, "state")
    done = written(registry)
    times = np.bincount(done[done["outcome"] == Outcome.DONE]["job"], minlength=jobs + 1)[1:]

    assert (states == State.DONE).sum() == jobs
    assert set(times.tolist()) == {1}
    assert np.array_equal(np.sort(applied(registry)["job"]), np.arange(1, jobs + 1))


def run_twice(registry: bp.Registry, jobs: int) -> int:
    """Check that each job is done and was counted once; return how many were run more than once."""
    with registry.database.read() as tx:
        states = read_column(tx.db, "state")
    done = written(registry)
    found, times = np.unique(done[done["outcome"] == Outcome.DONE]["job"], return_counts=True)

    assert (states == State.DONE).sum() == len(found) == jobs
    assert np.array_equal(np.sort(applied(registry)["job"]), np.arange(1, jobs + 1))
    return int((times > 1).sum())


def rq_url(registry: bp.Registry) -> str:
    """Return the broker's URL as RQ's own programs take it."""
    access = read_office(registry.paths, registry.instance)
    assert access is not None
    path = access.urls[0].removeprefix("unix://")
    return f"unix://{access.username}@{quote(path)}?password={quote(access.password)}"


def rq_info(registry: bp.Registry) -> str:
    """Return what `rq info` shows."""
    return subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "--raw"],
        env={**os.environ, "RQ_REDIS_URL": rq_url(registry)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def in_office_again(registry: bp.Registry, before: int, until: Until, seconds: float) -> int:
    """Wait for another coordinator than the one before and return it."""
    until(lambda: coordinator_pid(registry) not in (0, before), seconds)
    return coordinator_pid(registry)
