"""Waiting: what ends it, what it returns and what it says. Jobs end by hand, in another thread."""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batchpilot import progress
from batchpilot.ids import BatchpilotWarning
from batchpilot.registry.whole import Registry, load_registry
from batchpilot.store.launches import LaunchFailure, note_failure
from batchpilot.store.pages import Ids

from .conftest import HandMade, Make


@pytest.fixture
def hand(hand_made: Make) -> HandMade:
    """Jobs 1-4 of ten are queued."""
    hand = hand_made()
    hand.submit(range(1, 5))
    return hand


@pytest.fixture
def watcher(hand: HandMade) -> Iterator[Registry]:
    """The registry as another session sees it, open for reading: waiting starts no daemon."""
    with load_registry(hand.registry.file_dir, writeable=False) as registry:
        yield registry


@contextmanager
def after_a_look(watcher: Registry, act: Callable[[], Any]) -> Iterator[None]:
    """Act within the wait, once it has looked for the first time."""
    count, pending = watcher._count, [act]

    def counted(ids: Ids) -> object:
        waited = count(ids)
        while pending:
            pending.pop()()
        return waited

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watcher, "_count", counted)
        yield


@contextmanager
def meanwhile(watcher: Registry, act: Callable[[], Any]) -> Iterator[None]:
    """Act in another thread once the wait is under way."""
    acting = threading.Thread(target=act)
    try:
        with after_a_look(watcher, acting.start):
            yield
    finally:
        if acting.is_alive():
            acting.join()


def test_a_wait_ends_when_all_are_done(hand: HandMade, watcher: Registry) -> None:
    def finish() -> None:
        for job in range(1, 5):
            hand.done(job, job)

    with meanwhile(watcher, finish):
        assert watcher.wait_for_jobs(timeout=60) is True


def test_an_end_is_noticed_in_milliseconds(
    hand: HandMade, watcher: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchpilot.registry.waiting._RECOUNT_SECONDS", math.inf)

    def delay(job: int) -> float:
        ended: list[float] = []

        def finish() -> None:
            hand.done(job, job)
            ended.append(time.monotonic())

        with meanwhile(watcher, finish):
            assert watcher.wait_for_jobs(job, timeout=60, progress=False) is True
            noticed = time.monotonic()
        return noticed - ended[0]

    assert any(delay(job) < 1 for job in range(1, 5))


@pytest.mark.parametrize(
    ("noted", "told"),
    [({"failures": 1, "paused": True}, 1), ({"failures": 2}, 1), ({"failures": 1}, 0)],
)
def test_a_pool_that_fails_for_good_or_again_is_told_once(
    hand: HandMade,
    watcher: Registry,
    capsys: pytest.CaptureFixture[str],
    noted: dict[str, Any],
    told: int,
) -> None:
    words = "sbatch: error: invalid partition specified: no-such"
    failure = LaunchFailure(pool="slurm", time=time.time(), words=words, **noted)
    with hand.registry.database.write() as tx:
        note_failure(tx, failure)
    said: set[tuple[str, str]] = set()

    with progress.progress_for(4, shown=True) as bar:
        watcher._tell_failing(bar, said)
        watcher._tell_failing(bar, said)

    assert capsys.readouterr().err.count(words) == told


def test_errors_and_expired_jobs_make_it_false(hand: HandMade, watcher: Registry) -> None:
    hand.done(1, 1)
    hand.error(2)
    hand.expired(3)

    assert watcher.wait_for_jobs([1, 2]) is False
    assert watcher.wait_for_jobs([1, 3]) is False
    assert watcher.wait_for_jobs(1) is True


def test_it_can_stop_at_the_first_error_or_loss(hand: HandMade, watcher: Registry) -> None:
    hand.error(2)
    hand.expired(3)

    assert watcher.wait_for_jobs([1, 2], timeout=60, stop_on_error=True) is False
    with pytest.warns(BatchpilotWarning, match="Jobs disappeared from the system"):
        assert watcher.wait_for_jobs([1, 3], timeout=60, stop_on_expire=True) is False


def test_a_timeout_is_a_warning_and_false(watcher: Registry) -> None:
    with pytest.warns(BatchpilotWarning, match="Timeout reached: 4 of 4 jobs have not ended"):
        assert watcher.wait_for_jobs(timeout=0.05) is False


def test_unsubmitted_jobs_are_not_waited_for(hand: HandMade, watcher: Registry) -> None:
    hand.done(1, 1)

    with pytest.warns(BatchpilotWarning, match="Cannot wait for unsubmitted jobs"):
        assert watcher.wait_for_jobs([1, 9], timeout=60) is True
    with pytest.warns(BatchpilotWarning, match="Cannot wait for unsubmitted jobs"):
        assert watcher.wait_for_jobs(9) is True


def test_no_jobs_need_no_wait(hand_made: Make) -> None:
    assert hand_made().registry.wait_for_jobs() is True


def test_jobs_taken_back_are_not_waited_for_for_ever(hand: HandMade, watcher: Registry) -> None:
    hand.done(1, 1)

    with (
        meanwhile(watcher, lambda: hand.registry.kill_jobs([2, 3, 4])),
        pytest.warns(BatchpilotWarning, match="3 of the jobs were killed, reset or removed"),
    ):
        assert watcher.wait_for_jobs(timeout=60) is False


def test_an_interrupt_says_how_to_come_back(
    hand: HandMade, watcher: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with (
            after_a_look(watcher, lambda: signal.setitimer(signal.ITIMER_REAL, 0.05)),
            pytest.raises(KeyboardInterrupt),
        ):
            watcher.wait_for_jobs(timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)

    told = capsys.readouterr().err
    assert "The jobs go on." in told
    assert f"bp.load_registry('{hand.registry.file_dir}').wait_for_jobs()" in told


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    hand: HandMade,
    watcher: Registry,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    hand.error(4)
    hand.run(3)

    def finish() -> None:
        for job in range(1, 4):
            hand.done(job, job)

    with meanwhile(watcher, finish):
        watcher.wait_for_jobs(timeout=60)
    first, *_, last = capsys.readouterr().err.splitlines()
    watcher.wait_for_jobs(timeout=60, progress=False)

    assert first == "1 of 4 jobs ended, 1 without a result, 1 running"
    assert last == "4 of 4 jobs ended, 1 without a result"
    assert capsys.readouterr().err == ""


def test_progress_is_a_bar_on_a_terminal(
    hand: HandMade, watcher: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in range(1, 5):
        hand.done(job, job)
    monkeypatch.setenv("TERM", "xterm")
    with terminal(monkeypatch) as shown:
        watcher.wait_for_jobs(timeout=60)

    assert "4 of 4 jobs ended" in shown()
    assert "100%" in shown()


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Make stderr a terminal; give a function that says what was shown there."""
    master, slave = os.openpty()
    shown: list[bytes] = []
    # in the test's own body: pytest sets its streams anew for each phase of a test
    with monkeypatch.context() as patch, os.fdopen(slave, "w") as stream:
        patch.setattr(sys, "stderr", stream)
        yield lambda: b"".join(shown).decode()
        stream.flush()
        while select.select([master], [], [], 0)[0]:
            shown.append(os.read(master, 65536))
    os.close(master)
