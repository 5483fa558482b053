"""RQ's own `rq info`, looking all the time during a run: it sees our work and disturbs nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

from tests.conftest import Until

from batchpilot.store.owner import read_owner
from batchpilot_broker.accounts import read_office
from batchpilot_broker.paths import RegistryPaths

from .conftest import MakeStudy, numbers
from .failures.tools import assert_each_done_once


JOBS = 2000
LONG = 100
RQ = str(Path(sys.executable).with_name("rq"))


def rq_environment(paths: RegistryPaths) -> dict[str, str]:
    """Return the environment in which RQ's tools find the registry's broker."""
    access = read_office(paths, read_owner(paths).instance)
    assert access is not None
    scheme, _, place = access.urls[0].partition("://")
    account = f"{access.username}:{quote(access.password, safe='')}"
    return {**os.environ, "RQ_REDIS_URL": f"{scheme}://{account}@{place}"}


@contextmanager
def looking(paths: RegistryPaths) -> Iterator[list[str]]:
    """Run `rq info` again and again; give what it says."""
    seen: list[str] = []
    failures: list[str] = []
    enough = Event()
    environment = rq_environment(paths)

    def look() -> None:
        while not enough.is_set():
            ended = subprocess.run(
                [RQ, "info", "--raw"], env=environment, capture_output=True, text=True, check=False
            )
            (failures if ended.returncode else seen).append(ended.stdout + ended.stderr)

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        enough.set()
        thread.join()
    assert failures == []


def test_rq_info_shows_the_run_and_changes_nothing(
    make_study: MakeStudy, gate: Path, until: Until
) -> None:
    def work(i: int) -> int:
        time.sleep(0.05 if i % LONG == 0 else 0.001)
        while i == JOBS and not gate.exists():
            time.sleep(0.01)
        return i

    registry = make_study()
    registry.batch_map(work, i=range(1, JOBS + 1))
    registry.submit_jobs(range(1, 11))
    assert registry.wait_for_jobs(timeout=90)

    with looking(registry.paths) as seen:
        registry.submit_jobs()
        until(lambda: " busy " in "".join(seen))
        gate.touch()
        assert registry.wait_for_jobs(timeout=90)
        until(lambda: len(seen) >= 3)

    assert registry.find_done() == list(range(1, JOBS + 1))
    assert registry.reduce_results(lambda a, b: a + b) == JOBS * (JOBS + 1) // 2
    assert_each_done_once(registry, JOBS)
    assert numbers(registry, "charged") == [0] * JOBS
    text = "\n".join(seen)
    assert f"queue bp-{registry.instance}-" in text
    assert f"worker bp-{registry.instance}-local-" in text
    log = (registry.paths.logs / "coordinator.log").read_text()
    reasons = re.findall(r"JobsRequeued\(reason='([^']*)'", log)
    assert log.count("JobsRequeued") == len(reasons)
    assert set(reasons) <= {"overrun"}  # where this machine is slow, jobs wait behind others
