"""A broker that loses all it holds: it is filled again from the registry, and what runs goes on."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp

from . import work
from .conftest import Tell
from .tools import access_of, assert_each_done_once, broker_of, kill


GATED = 2
JOBS = 1500
WITHIN = 15.0


def kill_and_delete(registry: bp.Registry) -> None:
    """Kill the server and delete its directory."""
    access = access_of(registry)
    os.kill(access.pid, signal.SIGSTOP)  # so that no other one is started in what is deleted
    shutil.rmtree(Path(access.log).parent)
    kill(access.pid)


def flush(registry: bp.Registry) -> None:
    """Empty the server, as somebody with its password may."""
    with broker_of(registry) as client:
        client.flushall()


@pytest.mark.parametrize("lose", [kill_and_delete, flush])
def test_jobs_that_run_go_on_and_queued_ones_are_fed_again(
    make_study: MakeStudy,
    until: Until,
    gates: Path,
    tell: Tell,
    lose: Callable[[bp.Registry], None],
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=GATED + 1))
    registry.batch_map(
        work.gated_or_brief, i=range(1, JOBS + 1), more_args={"first": GATED, "gates": str(gates)}
    )
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 20)
    generation = access_of(registry).generation

    lose(registry)
    moment, done = time.monotonic(), registry.get_status().done
    until(lambda: any(attempt > 1 for attempt in numbers(registry, "attempt")), WITHIN)
    fed_again = time.monotonic() - moment
    until(lambda: registry.get_status().done > done + 300, WITHIN)
    tell(
        f"fed again after {fed_again:.2f} s, 300 jobs done after {time.monotonic() - moment:.2f} s"
    )
    for job in range(1, GATED + 1):
        (gates / f"open-{job}-1").touch()

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert numbers(registry, "attempt")[:GATED] == [1] * GATED
    assert max(numbers(registry, "charged")) == 0
    assert access_of(registry).generation >= generation
    assert_each_done_once(registry, JOBS)


def test_a_broker_whose_socket_was_deleted_is_started_again_with_its_data(
    make_study: MakeStudy, until: Until, tell: Tell
) -> None:
    registry = make_study()
    registry.batch_map(work.brief, i=range(1, JOBS + 1), more_args={"seconds": 0.003})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 20)
    before, moment = access_of(registry), time.monotonic()
    Path(before.urls[0].removeprefix("unix://")).unlink()  # as cleaners of /var/tmp do

    until(lambda: access_of(registry).pid != before.pid)

    tell(f"another server after {time.monotonic() - moment:.2f} s")
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert access_of(registry).generation == before.generation
    assert_each_done_once(registry, JOBS)
