"""What an agent does with its allocation: devices, its end, its crowd, and who bids it welcome."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import Until

from batchpilot_agent.launchers.inside import Remaining
from batchpilot_agent.pilot.jitter import A_SECOND, LONGEST, drawn, head_start, spread
from batchpilot_agent.pilot.pilot import ALLOCATION_PATIENCE
from batchpilot_agent.pilot.walltime import asker
from batchpilot_broker.frames import ROW, Kind
from batchpilot_broker.nouns import Outcome, Reason, ResourceClass

from .memorybroker import chunk_of, settings_in
from .stage import PlayedSlot, Stage


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(tmp_path, **options))
        stages[0].step()
        return stages[0]

    yield make
    for stage in stages:
        stage.close()


def on_a_gpu(number: int, gpus: int = 1) -> Any:
    return chunk_of(number, resources=ResourceClass(gpus=gpus))


def variables(slot: PlayedSlot) -> dict[str, str]:
    found: dict[str, str] = slot.order[-1]
    return found


def begin(stage: Stage) -> PlayedSlot:
    stage.feed(chunk_of(1, jobs=3))
    (slot,) = stage.busy
    slot.announce(0, stage.wall.now)
    stage.step(0.1)
    return slot


def rows_of(stage: Stage) -> list[tuple[Any, ...]]:
    return [ROW.unpack_from(f.payload) for f in stage.frames() if f.kind == Kind.ROW]


def test_jobs_that_run_together_have_devices_of_their_own(staged: Callable[..., Stage]) -> None:
    stage = staged(slots=3, cores=3, devices=("4", "GPU-a"), device_variables=("CUDA",))
    stage.feed(on_a_gpu(1), on_a_gpu(2), on_a_gpu(3))

    assert [variables(slot) for slot in stage.busy] == [{"CUDA": "4"}, {"CUDA": "GPU-a"}]


def test_a_device_goes_to_the_next_job_when_the_last_has_ended(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(devices=("4", "7"), device_variables=("CUDA",))
    stage.feed(on_a_gpu(1, gpus=2), on_a_gpu(2, gpus=2))
    (slot,) = stage.busy
    assert variables(slot) == {"CUDA": "4,7"}

    slot.run_all()
    stage.step()

    assert [variables(slot) for slot in stage.busy] == [{"CUDA": "4,7"}]


def test_a_job_that_asked_for_no_device_is_shown_none_of_those_of_others(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(devices=("4",), device_variables=("CUDA",))
    stage.feed(chunk_of(1))

    assert [variables(slot) for slot in stage.busy] == [{"CUDA": ""}]


def test_where_the_agent_has_no_devices_the_environment_is_left_alone(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(device_variables=("CUDA",))
    stage.feed(chunk_of(1))

    assert [variables(slot) for slot in stage.busy] == [{}]


def test_a_job_killed_together_with_its_agent_is_handed_back(staged: Callable[..., Stage]) -> None:
    stage = staged(allocation="slurm-1")
    slot = begin(stage)
    stage.templates[0].ended(slot, signal.SIGTERM)
    stage.step()
    assert not rows_of(stage)

    stage.pilot.leaver.leave("drain", stage.clock.now)
    stage.step()

    assert not rows_of(stage)
    assert [ranges for _, ranges, *_ in stage.handed_back()] == [[[101, 102]], [[100, 100]]]


def test_a_job_killed_alone_is_lost_after_a_moment(staged: Callable[..., Stage]) -> None:
    stage = staged(allocation="slurm-1")
    slot = begin(stage)
    stage.templates[0].ended(slot, signal.SIGTERM)

    stage.step()
    stage.step(ALLOCATION_PATIENCE)

    assert [row[:4] for row in rows_of(stage)] == [(100, 1, Outcome.LOST, Reason.SIGNAL)]


@pytest.mark.parametrize(("allocation", "number"), [("", signal.SIGTERM), ("s", signal.SIGSEGV)])
def test_no_other_death_waits(
    staged: Callable[..., Stage], allocation: str, number: signal.Signals
) -> None:
    stage = staged(allocation=allocation)
    slot = begin(stage)
    stage.templates[0].ended(slot, number)
    stage.step()

    assert [row[:3] for row in rows_of(stage)] == [(100, 1, Outcome.LOST)]


def test_no_job_is_begun_that_takes_longer_than_is_left(staged: Callable[..., Stage]) -> None:
    stage = staged(slots=1, deadline=1600.0)
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    slot.run_all(seconds=1300.0)
    stage.feed(chunk_of(2, jobs=2))
    stage.step()
    assert not stage.busy

    stage.feed(chunk_of(3, resources=ResourceClass(walltime=60.0)))

    assert [slot.jobs for slot in stage.busy] == [[300]]


def test_an_end_that_nobody_told_is_asked_for_beside_the_work(
    staged: Callable[..., Stage], until: Until
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def ask() -> Remaining:
        asked.set()
        assert answer.wait(60)
        return Remaining(ends=1600.0)

    stage = staged(slots=1, ask=ask)
    assert asked.wait(60)
    stage.feed(chunk_of(1))
    assert stage.broker.leases
    assert stage.broker.agents["a1"].deadline == 0.0
    answer.set()
    stage.busy[0].run_all()

    def learned() -> float:
        stage.step()
        return stage.pilot.walltime.ends

    until(learned)

    stage.feed(chunk_of(2, resources=ResourceClass(walltime=600.0)))
    stage.feed(chunk_of(3, resources=ResourceClass(walltime=60.0)))

    assert stage.broker.agents["a1"].deadline == 1600.0
    assert [slot.jobs for slot in stage.busy] == [[300]]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("answers", [True, False])
def test_where_nobody_tells_an_end_the_agent_works_on_without(
    staged: Callable[..., Stage],
    until: Until,
    caplog: pytest.LogCaptureFixture,
    answers: bool,
) -> None:
    calls = []

    def ask() -> Remaining:
        calls.append(answers)
        if not answers:
            raise RuntimeError("its traceback is in the log")
        return Remaining(words="squeue: UNLIMITED")

    stage = staged(ask=ask)

    def gave_up() -> bool:
        stage.step()
        return "nobody tells when this allocation ends" in caplog.text

    until(gave_up)
    stage.feed(chunk_of(1, resources=ResourceClass(walltime=1e6)))

    assert len(stage.busy) == len(calls) == 1


def test_an_agent_that_was_told_its_end_asks_nobody(staged: Callable[..., Stage]) -> None:
    stage = staged(deadline=1600.0, ask=lambda: pytest.fail("asked"))
    stage.step()

    assert stage.pilot.walltime.left == 600.0


@pytest.mark.parametrize(("element", "asks"), [("", False), ("7_1", True)])
def test_only_an_agent_in_a_batch_system_has_somebody_to_ask(
    tmp_path: Path, element: str, asks: bool
) -> None:
    assert (asker(settings_in(tmp_path, scheduler_id=element), time.time) is not None) == asks


def test_an_agent_of_another_host_claims_only_when_it_is_bidden_welcome(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(remote=True)
    stage.feed(chunk_of(1))
    assert not stage.broker.leases

    stage.pilot.obey({"kind": "welcome"}, stage.clock.now)
    stage.step()

    assert stage.broker.leases == {1: "a1"}


def test_where_no_coordinator_lives_nobody_waits_for_its_welcome(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(remote=True)
    stage.broker.coordinator_alive = False
    stage.feed(chunk_of(1))
    stage.step(6.0)

    assert stage.broker.leases == {1: "a1"}


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_crowd_comes_spread_over_as_long_as_the_broker_needs(crowd: int, draw: float) -> None:
    wait = head_start(crowd, draw)

    assert 0 <= wait <= min(LONGEST, crowd / A_SECOND)
    assert head_start(1, draw) == 0.0


@given(st.floats(0.01, 100), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_spread_by_at_most_a_half(pause: float, draw: float) -> None:
    assert 0.5 * pause <= spread(pause, draw) <= 1.5 * pause


def test_what_is_drawn_differs_from_draw_to_draw() -> None:
    draws = {drawn() for _ in range(100)}

    assert len(draws) > 90
    assert all(0 <= draw < 1 for draw in draws)
