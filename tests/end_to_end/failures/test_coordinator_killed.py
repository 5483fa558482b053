"""Coordinators killed at any moment, the worst too: nothing is lost, nothing applied twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy

import batchpilot as bp
from batchpilot import control
from batchpilot_broker.keys import Keys

from . import work
from .conftest import Tell
from .tools import (
    assert_each_done_once,
    broker_of,
    coordinator_pid,
    in_office_again,
    kill,
    supervisor_pid,
)


JOBS = 6000
WITHIN = 5.0
STALLS = 60.0
"""Seconds after which it is no stall of a busy machine any more."""


def begin(
    make_study: MakeStudy, until: Until, job: Callable[..., int] = work.brief, **more: object
) -> bp.Registry:
    """Make a registry whose jobs are on their way."""
    registry = make_study()
    registry.batch_map(job, i=range(1, JOBS + 1), more_args=more or {"seconds": 0.0005})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 0)
    return registry


def test_a_killed_coordinator_has_a_successor_within_5_seconds(
    make_study: MakeStudy, until: Until, moments: random.Random, tell: Tell
) -> None:
    registry = begin(make_study, until)
    recoveries = []
    for _ in range(3):
        time.sleep(moments.uniform(0.0, 0.5))
        before = coordinator_pid(registry)
        moment = kill(before)
        in_office_again(registry, before, until, STALLS)
        recoveries.append(time.monotonic() - moment)
    tell("in office again after " + ", ".join(f"{s:.2f} s" for s in recoveries))

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, JOBS)
    assert sorted(recoveries)[1] < WITHIN  # the third waits 2 s before it starts


def applied_but_not_trimmed(registry: bp.Registry) -> bool:
    """Tell whether the broker still has events that the registry has applied."""
    with registry.database.read() as tx:
        applied = _stream_id(str(tx.meta("stream")))
    with broker_of(registry) as client:
        first: Any = client.xrange(Keys(registry.instance).events, count=1)
    return bool(first) and _stream_id(first[0][0].decode()) <= applied


def committed_but_not_fed(registry: bp.Registry) -> bool:
    """Tell whether chunks are handed out in the registry alone."""
    keys = Keys(registry.instance)
    with registry.database.read() as tx:
        chunks = {row[0]: row[1] for row in tx.all("all_chunks") if not row[5]}
    with broker_of(registry) as client:
        leased: Any = client.hkeys(keys.leases)
        here: set[int | None] = set(map(int, leased))
        for name in set(chunks.values()):
            queued: Any = client.lrange(keys.queue_list(name), 0, -1)
            here.update(map(keys.chunk, queued))
    return not here.issuperset(chunks)


def _stream_id(text: str) -> tuple[int, int]:
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number or 0)


def caught(registry: bp.Registry, window: Callable[[bp.Registry], bool]) -> bool:
    """Stop the coordinator behind its next commit; let it go on where no window is open."""
    pid, version = coordinator_pid(registry), registry.database.data_version()
    assert pid
    deadline = time.monotonic() + STALLS
    while registry.database.data_version() == version:  # a window is a tenth of a millisecond
        assert time.monotonic() < deadline
    os.kill(pid, signal.SIGSTOP)
    if window(registry):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def kill_both(registry: bp.Registry) -> float:
    """Kill supervisor and coordinator, start others, and return the seconds that took."""
    moment = kill(supervisor_pid(registry), coordinator_pid(registry))
    control.start(registry.paths)
    return time.monotonic() - moment


def test_killed_between_commit_and_trim_nothing_is_applied_twice(
    make_study: MakeStudy, until: Until, gates: Path, tell: Tell
) -> None:
    registry = begin(make_study, until, work.brief_until_hurried, gates=str(gates))
    recoveries = []
    for _ in range(3):
        until(lambda: caught(registry, applied_but_not_trimmed))
        recoveries.append(kill_both(registry))
    tell("supervisor and coordinator again after " + ", ".join(f"{s:.2f} s" for s in recoveries))
    (gates / "hurry").touch()

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, JOBS)


def test_killed_between_commit_and_feed_nothing_is_lost(
    make_study: MakeStudy, until: Until
) -> None:
    registry = make_study()
    jobs = iter(registry.batch_map(work.brief, i=range(1, 1001), more_args={"seconds": 0.01}))
    control.start(registry.paths)

    def submitted_and_caught() -> bool:
        registry.submit_jobs(next(jobs))
        return caught(registry, committed_but_not_fed)

    for _ in range(3):
        until(submitted_and_caught)
        kill_both(registry)

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, registry.get_status().submitted)


def test_a_killed_supervisor_is_replaced_and_its_coordinator_stays(
    make_study: MakeStudy, until: Until, tell: Tell
) -> None:
    registry = begin(make_study, until)
    supervisor, coordinator = supervisor_pid(registry), coordinator_pid(registry)
    moment = kill(supervisor)

    assert registry.wait_for_jobs(timeout=60, progress=False)

    control.start(registry.paths)
    control.ensure(registry.paths)
    until(lambda: supervisor_pid(registry) != supervisor)
    tell(f"another supervisor after {time.monotonic() - moment:.2f} s")
    assert coordinator_pid(registry) == coordinator
    kill(coordinator)
    in_office_again(registry, coordinator, until, STALLS)
    assert_each_done_once(registry, JOBS)
