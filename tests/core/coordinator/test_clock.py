"""The machine's clock is set back by an hour: nothing stops, and nothing is lost for an hour."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from tests.conftest import wait_until
from tests.core.book import CLASS

from batchpilot.coordinator.auditor import EVERY, YOUNGEST
from batchpilot.coordinator.clock import SteadyClock
from batchpilot.coordinator.measurer import BEAT_EVERY, Measurer
from batchpilot.durations import HOUR, duration
from batchpilot.store.owner import Office, read_owner

from .conftest import Bench


NOW = 1.7e9


@dataclass
class Machine:
    """A machine's two clocks, moved by tests."""

    wall: float = NOW
    up: float = 100.0

    def clock(self) -> SteadyClock:
        """Return a clock on both."""
        return SteadyClock(lambda: self.wall, lambda: self.up)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.up += seconds


def test_the_clock_shows_unix_time() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.run(5)

    assert clock() == NOW + 5


@pytest.mark.parametrize("back", [0.5, HOUR, 1e9])
def test_set_back_it_goes_on_by_the_second(back: float) -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock()
    machine.wall -= back
    machine.run(2)

    assert clock() == pytest.approx(before + 2)


def test_set_forward_it_follows() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock()
    machine.wall += HOUR

    assert clock() == before + HOUR


def test_the_heart_beats_on_after_the_clock_was_set_back(bench: Bench) -> None:
    machine = Machine()
    clock = machine.clock()
    office = Office(bench.desk.paths, bench.book.database)
    measurer = Measurer(bench.desk, office, now=clock())
    measurer.tick(clock())
    first = read_owner(bench.desk.paths).heartbeat
    machine.wall -= HOUR
    machine.run(BEAT_EVERY)
    wait_until(lambda: time.time() > first + 0.002)  # a beat tells milliseconds
    measurer.tick(clock())

    assert read_owner(bench.desk.paths).heartbeat > first


def test_audits_go_on_after_the_clock_was_set_back(bench: Bench) -> None:
    machine = Machine()
    clock = machine.clock()
    bench.book.define(2)
    bench.book.queue([1, 2])
    bench.agent()
    bench.feeder.tick(clock())
    bench.auditor.tick(clock())
    bench.broker.queues[CLASS].clear()
    machine.wall -= HOUR
    machine.run(EVERY)

    assert bench.auditor.tick(clock()) == 2


def test_what_was_fed_before_the_clock_was_set_back_is_audited_by_the_next_coordinator(
    bench: Bench,
) -> None:
    bench.book.define(2)
    bench.book.queue([1, 2])
    bench.agent()
    bench.feeder.tick(NOW)
    bench.broker.queues[CLASS].clear()

    assert bench.auditor.audit(NOW - HOUR, youngest=YOUNGEST) == 2


def test_a_backup_made_after_the_clock_was_set_back_is_the_newest_and_stays(bench: Bench) -> None:
    for stamp in (3000, 4000, 500):
        bench.book.database.back_up(stamp)

    kept = sorted(path.name for path in bench.desk.paths.backup.iterdir())
    assert kept == ["registry-4000.db", "registry-4001.db"]


def test_a_moment_that_has_not_come_was_no_time_ago() -> None:
    assert duration(-3600.0) == "0.0 s"
