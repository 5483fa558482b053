"""A broker that is full, slow, silent or restarted: it is said, and work goes on after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import access_of, assert_each_done_once
from tests.end_to_end.failures.work import brief

import batchpilot as bp

from .conftest import Call, MakeBroker
from .tools import OwnBroker, SlowLine


JOBS = 1500
FEWER = 300
EACH_WAY = 0.03
DAEMONS_SEE = 30.0


def under_way(make_study: MakeStudy, until: Until) -> bp.Registry:
    registry = make_study()
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.002})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100)
    return registry


def all_done_once(registry: bp.Registry, jobs: int = JOBS) -> None:
    assert registry.wait_for_jobs(timeout=90, progress=False), registry.get_status()
    assert_each_done_once(registry, jobs)
    assert max(numbers(registry, "charged")) == 0


def logs_of(registry: bp.Registry) -> list[Path]:
    """Return the logs of those who wait for the broker's answers."""
    return [registry.paths.logs / "coordinator.log", *registry.paths.logs.glob("local-*.log")]


def misses_the_broker(log: Path) -> bool:
    return "does not answer" in log.read_text()


def said_by_coordinator(registry: bp.Registry) -> str:
    return (registry.paths.logs / "coordinator.log").read_text()


def test_work_goes_on_when_a_full_broker_has_room_again(
    make_study: MakeStudy, make_broker: MakeBroker, until: Until, call: Call
) -> None:
    broker = make_broker()
    registry = under_way(make_study, until)
    broker.client.config_set("maxmemory", 1)
    until(lambda: "memory limit" in said_by_coordinator(registry), DAEMONS_SEE)

    code, said = call("doctor", registry.file_dir)
    assert code == 1, said
    assert "has reached its memory limit" in said
    assert "raise its maxmemory" in said
    assert "has reached its memory limit" in call("status", registry.file_dir)[1]
    broker.client.config_set("maxmemory", 0)

    all_done_once(registry)


@pytest.fixture
def slow_line(make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnBroker]:
    """Give a broker that is reached by a slow line."""
    broker = make_broker()
    line = SlowLine(broker.socket, EACH_WAY)
    monkeypatch.setenv("BATCHPILOT_BROKER_URL", f"redis://127.0.0.1:{line.port}/0")
    yield broker
    line.close()


@pytest.mark.usefixtures("slow_line")
def test_a_slow_line_to_the_broker_costs_time_only(make_study: MakeStudy, tell: Tell) -> None:
    registry = make_study()
    registry.batch_map(brief, i=range(1, FEWER + 1), more_args={"seconds": 0.002})
    moment = time.monotonic()
    registry.submit_jobs()

    all_done_once(registry, FEWER)
    tell(f"{FEWER} jobs of 2 ms in {time.monotonic() - moment:.1f} s")


def test_a_broker_that_is_silent_for_a_while_costs_time_only(
    make_study: MakeStudy, make_broker: MakeBroker, until: Until
) -> None:
    broker = make_broker()
    registry = under_way(make_study, until)
    with broker.silent():
        until(lambda: all(map(misses_the_broker, logs_of(registry))), DAEMONS_SEE)

    all_done_once(registry)


def test_a_broker_restarted_in_place_goes_on_with_what_it_had(
    make_study: MakeStudy, make_broker: MakeBroker, until: Until, call: Call, tell: Tell
) -> None:
    broker = make_broker("appendonly yes")
    registry = under_way(make_study, until)
    before = access_of(registry).generation
    broker.stop()
    until(lambda: "does not answer" in said_by_coordinator(registry), DAEMONS_SEE)
    code, said = call("doctor", registry.file_dir)
    assert code == 1, said
    assert "does not answer" in said
    assert "broker: not running" in call("status", registry.file_dir)[1].lower()
    broker.start()

    all_done_once(registry)
    assert access_of(registry).generation == before
    again = sum(attempt > 1 for attempt in numbers(registry, "attempt"))
    tell(f"{again} of {JOBS} jobs fed again")  # a claim whose answer was lost may be among them
    assert again < JOBS / 2
