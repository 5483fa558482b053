"""Scaling: how many agents a pool should have."""

from __future__ import annotations

import pytest

from batchpilot.coordinator.scaler import Scaler, wanted_agents
from batchpilot.pools import External, Interactive, Local, Slurm
from batchpilot_broker.nouns import ResourceClass

from .conftest import Bench


@pytest.mark.parametrize(
    ("pool", "jobs", "wanted"),
    [
        (Local(slots=2), 0, 0),
        (Local(slots=2), 1, 1),
        (Local(slots=2), 1000, 1),
        (Local(slots=2, max_agents=4), 5, 3),
        (Local(slots=2, max_agents=4), 1000, 4),
        (Local(slots=2, min_agents=2, max_agents=4), 1, 2),
        (Local(slots=2, min_agents=2, max_agents=4), 0, 0),
    ],
)
def test_agents_are_wanted_for_the_work_there_is(pool: Local, jobs: int, wanted: int) -> None:
    assert wanted_agents(pool, jobs) == wanted


def test_none_is_started_while_enough_live(bench: Bench) -> None:
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    bench.agent()
    scaler = Scaler(bench.desk)

    scaler.tick(0.0)

    assert scaler.wanted == {"local": 1}
    assert not list(bench.desk.paths.logs.iterdir())


def test_none_is_started_without_work(bench: Bench) -> None:
    bench.book.define(10)
    scaler = Scaler(bench.desk)

    scaler.tick(0.0)

    assert scaler.wanted == {"local": 0}
    assert not list(bench.desk.paths.logs.iterdir())


def test_none_is_wanted_for_jobs_that_do_not_fit(bench: Bench) -> None:
    bench.desk.pools = [Local(slots=2, resources={"memory": 10})]
    bench.book.define(10)
    bench.book.queue(range(1, 11), ResourceClass(memory=100.0))
    scaler = Scaler(bench.desk)

    scaler.tick(0.0)

    assert scaler.wanted == {"local": 0}


def test_none_is_wanted_while_the_user_has_stopped_them(bench: Bench) -> None:
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    with bench.book.database.write() as tx:
        tx.set_meta("agents_stopped", 1)
    scaler = Scaler(bench.desk)

    scaler.tick(0.0)

    assert scaler.wanted == {"local": 0}


def test_an_interactive_pool_has_no_agents(bench: Bench) -> None:
    bench.desk.pools = [Interactive()]
    bench.book.define(1)
    bench.book.queue([1])
    scaler = Scaler(bench.desk)

    scaler.tick(0.0)

    assert scaler.wanted == {}


def test_agents_of_an_external_pool_are_wanted_and_never_started(bench: Bench) -> None:
    bench.desk.pools = [External(name="kubernetes", slots=2, max_agents=20)]
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    scaler = Scaler(bench.desk)

    scaler.tick(0.0)

    assert scaler.wanted == {"kubernetes": 5}
    assert not list(bench.desk.paths.logs.iterdir())


def test_a_pool_that_was_taken_away_wants_no_agents_any_more(bench: Bench) -> None:
    scaler = Scaler(bench.desk)
    scaler.tick(0.0)
    bench.desk.pools = [Slurm()]

    scaler.tick(0.0)

    assert scaler.wanted == {}
