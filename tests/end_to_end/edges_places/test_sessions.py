"""Sessions at once, sessions killed, a machine that goes down: nothing is lost, nothing twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, script_environment
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.failures.work import brief

import batchpilot as bp
from batchpilot_broker.host import runtime_dir

from .tools import kill_all, runs_for


JOBS = 100_000
DEFINED = 1_000_000
SUBMITTED = 200_000
LABELLED = 40
DEFINING = 1.0
"""Seconds within which `batch_map` of `DEFINED` jobs is killed."""

HEAD = """
import sys, time
from pathlib import Path
import batchpilot as bp

def same(i):
    return i

reg = bp.load_registry("study")
Path(sys.argv[1]).touch()
"""
DEFINES = f"{HEAD}reg.batch_map(same, i=range({DEFINED}))"
SUBMITS = f"""{HEAD}
import batchpilot.registry.enlisting
batchpilot.registry.enlisting.BLOCK = {SUBMITTED // 100}
reg.submit_jobs()
"""
"""It commits a hundred times, so that it is caught between two of them."""
WAITS = f"{HEAD}reg.submit_jobs(); reg.wait_for_jobs(progress=False)"
TAGS_AND_SUBMITS = f"""{HEAD}
which = int(sys.argv[2])
while not Path("go").exists():
    time.sleep(0.001)
for job in range(1, {LABELLED} + 1):
    reg.add_job_tags(job, f"by{{which}}")
    reg.submit_jobs({LABELLED} * which + job)
assert reg.wait_for_jobs(timeout=60, progress=False)
"""


class Sessions:
    """Start sessions of their own, scripts in the test's directory, and end what is left of them.

    Args:
        place: Where they run; the registry is in `study` there.
        until: Waits.
    """

    def __init__(self, place: Path, until: Until) -> None:
        self._place = place
        self._until = until
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, script: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one; return when it has loaded the registry."""
        ready = self._place / f"ready-{len(self._started)}"
        session = subprocess.Popen(
            [sys.executable, "-c", script, ready, *words],
            cwd=self._place,
            env=script_environment(),
        )
        self._started.append(session)
        self._until(lambda: ready.exists() or session.poll() is not None, 30.0)
        return session

    def end(self) -> None:
        """Kill those that live."""
        for session in self._started:
            session.kill()
            session.wait()


@pytest.fixture
def sessions(tmp_path: Path, until: Until) -> Iterator[Sessions]:
    sessions = Sessions(tmp_path, until)
    yield sessions
    sessions.end()


def killed(session: subprocess.Popen[bytes]) -> bool:
    """Kill a session, it alone, and tell whether it was in the middle of something."""
    os.kill(session.pid, signal.SIGKILL)
    return session.wait() == -signal.SIGKILL


def test_two_sessions_at_once_lose_neither_tags_nor_jobs(
    make_study: MakeStudy, sessions: Sessions, tmp_path: Path
) -> None:
    registry = make_study("study")
    registry.batch_map(brief, i=range(1, 3 * LABELLED + 1), more_args={"seconds": 0})
    both = [sessions.start(TAGS_AND_SUBMITS, str(which)) for which in (1, 2)]

    (tmp_path / "go").touch()

    assert [session.wait(100) for session in both] == [0, 0]
    first = list(range(1, LABELLED + 1))
    assert list(registry.find_tagged("by1")) == list(registry.find_tagged("by2")) == first
    submitted = list(range(LABELLED + 1, 3 * LABELLED + 1))
    assert list(registry.find_done()) == submitted
    assert registry.reduce_results_list(submitted) == submitted


def test_of_two_sessions_that_define_jobs_at_once_one_is_refused(
    make_study: MakeStudy, sessions: Sessions
) -> None:
    registry = make_study("study")
    both = [sessions.start(DEFINES), sessions.start(DEFINES)]

    assert sorted(session.wait(100) for session in both) == [0, 1]
    assert registry.get_status().defined == DEFINED


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_session_killed_in_batch_map_leaves_all_jobs_or_none(
    make_study: MakeStudy, sessions: Sessions, moments: random.Random, tell: Tell, share: float
) -> None:
    registry = make_study("study")
    session = sessions.start(DEFINES)
    pause = (share + 0.2 * (moments.random() - 0.5)) * DEFINING
    time.sleep(pause)  # it is the moment that is drawn
    inside = killed(session)
    defined = registry.get_status().defined
    tell(f"killed after {pause:.2f} s, {'inside' if inside else 'behind'}: {defined} jobs")

    assert defined in (0, DEFINED)
    if not defined:
        registry.batch_map(brief, i=range(JOBS), more_args={"seconds": 0})
        assert registry.get_status().defined == JOBS
    registry.submit_jobs(range(1, 501))
    assert registry.wait_for_jobs(range(1, 501), timeout=60, progress=False)
    assert registry.reduce_results_list() == list(range(500))


def test_a_session_killed_in_submit_jobs_is_gone_on_with(
    make_study: MakeStudy, sessions: Sessions, until: Until, tell: Tell
) -> None:
    registry = make_study("study")
    registry.batch_map(lambda i: i, i=range(SUBMITTED))
    session = sessions.start(SUBMITS)
    until(lambda: registry.get_status().submitted > 0)
    assert killed(session)
    left = len(registry.find_not_submitted())
    tell(f"killed with {left} of {SUBMITTED} jobs not submitted")

    with bp.load_registry(registry.file_dir) as again:
        again.submit_jobs()
        assert again.wait_for_jobs(timeout=90, progress=False), again.get_status()
    assert_each_done_once(registry, SUBMITTED)


def test_a_session_killed_in_wait_for_jobs_leaves_the_work_going_on(
    make_study: MakeStudy, sessions: Sessions, until: Until
) -> None:
    registry = make_study("study")
    registry.batch_map(lambda i: i, i=range(JOBS))
    session = sessions.start(WAITS)
    until(lambda: registry.get_status().done > 1000)
    assert killed(session)

    until(lambda: registry.get_status().done == JOBS, 60.0)  # nobody waits for them
    assert_each_done_once(registry, JOBS)


def test_a_machine_that_goes_down_without_a_word_costs_only_what_ran(
    make_study: MakeStudy, sessions: Sessions, until: Until, tell: Tell
) -> None:
    registry = make_study("study")
    registry.batch_map(brief, i=range(1, 2001), more_args={"seconds": 0.001})
    session = sessions.start(WAITS)
    until(lambda: registry.get_status().done > 300)
    killed(session)  # first, as it would start the others again
    kill_all(registry)
    shutil.rmtree(runtime_dir(registry.instance))  # local disk is empty after a reboot
    assert not runs_for(registry.instance, registry.file_dir)
    done = registry.get_status().done
    registry.close()

    with bp.load_registry(registry.file_dir) as again:
        moment = time.monotonic()
        assert again.wait_for_jobs(timeout=60, progress=False), again.get_status()
        tell(f"went down with {done} done; all done {time.monotonic() - moment:.1f} s later")
        assert_each_done_once(again, 2000)
