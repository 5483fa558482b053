"""Strangers on the broker: what they throw away is fed again, what they put there is ignored."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp
from batchpilot.store.pages import State, read_column
from batchpilot_broker.keys import Keys

from . import work
from .conftest import Tell
from .tools import assert_each_done_once, broker_of, rq_url


JOBS = 80
AUDIT = 30.0


def rq(registry: bp.Registry, *words: str) -> subprocess.CompletedProcess[str]:
    """Run RQ's own program on the registry's broker."""
    return subprocess.run(
        [sys.executable, "-m", "rq.cli", *words],
        env={**os.environ, "RQ_REDIS_URL": rq_url(registry)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def queued(registry: bp.Registry) -> dict[str, list[int]]:
    """Return the registry's RQ queues with the chunks in each."""
    keys = Keys(registry.instance)
    with registry.database.read() as tx:
        names = [row[0] for row in tx.all("all_classes")]
    with broker_of(registry) as client:
        ids: list[Any] = [client.lrange(keys.queue_list(name), 0, -1) for name in names]
    return {
        keys.queue(name): [chunk for chunk in map(keys.chunk, jobs) if chunk is not None]
        for name, jobs in zip(names, ids, strict=True)
    }


def test_what_strangers_take_from_our_queues_is_fed_again_by_the_audit(
    make_study: MakeStudy, until: Until, gates: Path, tell: Tell
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(
        work.gated_or_brief, i=range(1, JOBS + 1), more_args={"first": 1, "gates": str(gates)}
    )
    for ids, resources in ((range(2, 12), {}), (range(12, 22), {"walltime": 60})):
        registry.submit_jobs(ids, resources)
        assert registry.wait_for_jobs(ids, timeout=60, progress=False)
    registry.submit_jobs(1)
    until((gates / "began-1-1").exists)
    registry.submit_jobs(range(22, 50))
    registry.submit_jobs(range(50, JOBS + 1), {"walltime": 60})
    until(lambda: registry.find_submitted() == registry.find_started() | fed_ahead(registry))
    (emptied, first), (worked, second) = queued(registry).items()
    assert first
    assert second
    attempts = numbers(registry, "attempt")[:21]
    stolen, moment = {*first, *second}, time.monotonic()

    empty = rq(registry, "empty", emptied)
    worker = rq(registry, "worker", "--burst", worked)
    with broker_of(registry) as client:
        client.rpush(f"rq:queue:{emptied}", "somebody-elses-job")

    assert empty.returncode == 0, empty.stderr
    assert "DeserializationError" in worker.stdout + worker.stderr
    until(lambda: stolen.isdisjoint(chunks(registry)), AUDIT + 10)
    tell(f"noticed after {time.monotonic() - moment:.1f} s, audits are {AUDIT:.0f} s apart")
    (gates / "open-1-1").touch()
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert_each_done_once(registry, JOBS)
    assert numbers(registry, "attempt")[:21] == attempts
    assert max(numbers(registry, "charged")) == 0
    with broker_of(registry) as client:
        assert int(client.get(Keys(registry.instance).foreign) or 0) == 1


def chunks(registry: bp.Registry) -> set[int]:
    """Return the chunks that the registry believes to be on their way."""
    with registry.database.read() as tx:
        return {row[0] for row in tx.all("all_chunks")}


def fed_ahead(registry: bp.Registry) -> bp.JobIds:
    """Return the jobs that the registry has handed to the broker and that have not begun."""
    with registry.database.read() as tx:
        states = read_column(tx.db, "state")
    return bp.JobIds(np.flatnonzero(states == State.FED) + 1)
