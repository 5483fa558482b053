"""Measuring: what is unfinished, the heartbeats, the backups."""

from __future__ import annotations

import time

import pytest
from tests.conftest import Until
from tests.core.book import array

from batchpilot.coordinator.measurer import ALIVE_EVERY, BEAT_EVERY, Measurer
from batchpilot.store.changing import revoke
from batchpilot.store.owner import Office, read_owner
from batchpilot_broker.errors import TermSuperseded
from batchpilot_broker.nouns import Outcome

from .conftest import Bench


@pytest.fixture
def measurer(bench: Bench) -> Measurer:
    office = Office(bench.desk.paths, bench.book.database)
    return Measurer(bench.desk, office)


def run_all(bench: Bench, outcome: Outcome = Outcome.DONE) -> None:
    """Feed and end everything there is."""
    agent = bench.agents.get("a1") or bench.agent()
    while bench.feeder.tick(0.0):
        for queue in bench.broker.queues.values():
            for number in list(queue):
                chunk = bench.claim()
                for job in chunk.ids():
                    agent.end(job, outcome, chunk.attempt)
                agent.end_chunk(number, chunk.size)
                bench.broker.release(number)
        bench.hear(agent.report())


def test_nothing_is_unfinished_before_a_submission(bench: Bench, measurer: Measurer) -> None:
    bench.book.define(5)

    assert measurer.count_unfinished() == 0


def test_what_is_queued_fed_or_to_be_fed_again_is_unfinished(
    bench: Bench, measurer: Measurer
) -> None:
    bench.book.define(5)
    bench.book.queue(range(1, 6))
    bench.agent()
    assert measurer.count_unfinished()
    bench.feeder.tick(0.0)
    assert measurer.count_unfinished()
    chunk = bench.claim()
    bench.agents["a1"].end(chunk.ids()[0], Outcome.LOST)
    bench.hear(bench.agents["a1"].report())
    assert measurer.count_unfinished()

    bench.broker.queues.clear()
    bench.broker.held.clear()
    bench.auditor.audit(1e9)
    run_all(bench)
    assert measurer.count_unfinished() == 0


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.ERROR, Outcome.LOST])
def test_nothing_is_unfinished_when_all_have_ended(
    bench: Bench, measurer: Measurer, outcome: Outcome
) -> None:
    bench.book.define(5)
    bench.book.queue(range(1, 6))

    run_all(bench, outcome)

    assert measurer.count_unfinished() == 0


def test_nothing_is_unfinished_when_all_were_killed(bench: Bench, measurer: Measurer) -> None:
    bench.book.define(30)
    bench.book.queue(range(1, 31))
    bench.agent()
    bench.feeder.tick(0.0)
    with bench.book.database.write() as tx:
        revoke(tx, array(range(1, 31)))

    bench.canceller.tick()
    bench.feeder.tick(0.0)

    assert measurer.count_unfinished() == 0


def test_the_heart_beats_on_disk(bench: Bench, measurer: Measurer, until: Until) -> None:
    begun = round(time.time(), 3)  # as beats are written

    measurer.tick(100.0)
    first = read_owner(bench.desk.paths).heartbeat
    measurer.tick(100.0 + BEAT_EVERY / 2)
    second = read_owner(bench.desk.paths).heartbeat
    until(lambda: round(time.time(), 3) > second)
    measurer.tick(100.0 + BEAT_EVERY)

    assert begun <= first == second < read_owner(bench.desk.paths).heartbeat


def test_the_heart_of_a_superseded_coordinator_stops(bench: Bench, measurer: Measurer) -> None:
    measurer.tick(100.0)
    bench.broker.office += 1

    with pytest.raises(TermSuperseded):
        measurer.tick(100.0 + ALIVE_EVERY)


def test_a_backup_is_made_of_what_has_changed(bench: Bench, measurer: Measurer) -> None:
    bench.book.define(3)
    bench.book.queue([1, 2, 3])
    run_all(bench)
    measurer.back_up()
    measurer.back_up()
    backup = bench.desk.paths.backup
    assert len(list(backup.iterdir())) == 1

    with bench.book.database.write() as tx:
        revoke(tx, array([1]))
    bench.book.queue([1])
    run_all(bench)
    measurer.back_up()
    assert len(list(backup.iterdir())) == 2
