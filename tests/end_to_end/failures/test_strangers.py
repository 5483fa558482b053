"""Strangers on the broker: what they throw away is fed again, what they put there is ignored."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import batchpilot as bp
from batchpilot_broker.keys import Keys

from ...conftest import Until
from ..conftest import MakeStudy, numbers
from . import work
from .conftest import Tell
from .tools import assert_each_done_once, broker_of, rq_url


JOBS = 40
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


def queues(registry: bp.Registry) -> dict[str, int]:
    """Return the registry's RQ queues with the number of chunks in each."""
    with registry.database.read() as tx:
        names = [Keys(registry.instance).queue(row[0]) for row in tx.all("all_classes")]
    with broker_of(registry) as client:
        return {name: client.llen(f"rq:queue:{name}") for name in names}


def test_what_strangers_take_from_our_queues_is_fed_again_by_the_audit(
    make_study: MakeStudy, until: Until, gates: Path, tell: Tell
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(
        work.gated_or_brief, i=range(1, JOBS + 1), more_args={"first": 1, "gates": str(gates)}
    )
    registry.submit_jobs(range(1, 21))
    until((gates / "began-1-1").exists)
    registry.submit_jobs(range(21, JOBS + 1), {"walltime": 60})
    until(lambda: len(queues(registry)) == 2 and all(queues(registry).values()))
    emptied, worked = queues(registry)

    empty = rq(registry, "empty", emptied)
    worker = rq(registry, "worker", "--burst", worked)
    with broker_of(registry) as client:
        client.rpush(f"rq:queue:{emptied}", "somebody-elses-job")
    moment = time.monotonic()

    assert empty.returncode == 0, empty.stderr
    assert "DeserializationError" in worker.stdout + worker.stderr
    assert not list(gates.glob("open-*"))
    until(lambda: queues(registry)[emptied] > 1 and queues(registry)[worked] > 0, AUDIT + 10)
    tell(f"fed again after {time.monotonic() - moment:.1f} s, audits are {AUDIT:.0f} s apart")
    (gates / "open-1-1").touch()
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert_each_done_once(registry, JOBS)
    assert numbers(registry, "attempt")[0] == 1
    assert max(numbers(registry, "charged")) == 0
    with broker_of(registry) as client:
        assert int(client.get(Keys(registry.instance).foreign) or 0) == 1
