"""The limit of jobs at once: how much is handed out, and what is taken back."""

from __future__ import annotations

import json

import pytest
from tests.core.book import CLASS

from batchpilot.resources import class_id
from batchpilot.store.pages import State
from batchpilot_broker.nouns import ResourceClass

from .conftest import Bench


NOW = 5000.0
OTHER = ResourceClass(walltime=10.0)


def limit(bench: Bench, jobs: int | None) -> None:
    with bench.book.database.write() as tx:
        tx.set_meta("max_concurrent_jobs", json.dumps(jobs))


def out(bench: Bench) -> int:
    """Feed, and return how many chunks are queued or held."""
    bench.feeder.tick(NOW)
    return sum(map(len, bench.broker.queues.values())) + len(bench.broker.held)


@pytest.mark.parametrize("known", [False, True], ids=["unknown run time", "short jobs"])
def test_no_more_chunks_than_the_limit_are_handed_out(bench: Bench, known: bool) -> None:
    bench.book.define(10_000)
    bench.book.queue(range(1, 10_001))
    if known:
        bench.sizer.observe(CLASS, 1.0, 100)
    limit(bench, 3)
    bench.agent()

    assert (out(bench), out(bench)) == (3, 3)
    bench.claim()
    assert out(bench) == 3
    assert not bench.feeder.hungry


def test_the_limit_is_of_all_classes_together(bench: Bench) -> None:
    bench.book.define(20)
    bench.book.queue(range(1, 11))
    bench.book.queue(range(11, 21), OTHER)
    limit(bench, 5)

    assert out(bench) == 5


def test_the_next_chunk_follows_the_end_of_one(bench: Bench) -> None:
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    limit(bench, 1)
    agent = bench.agent()
    out(bench)
    chunk = bench.claim()
    agent.end(chunk.ids()[0])
    agent.end_chunk(chunk.id, 1)
    bench.hear(agent.report())
    del bench.broker.held[chunk.id]

    assert out(bench) == 1
    assert bench.broker.claim("a1", CLASS).ids() == [2]


def test_a_lower_limit_takes_queued_chunks_back_and_lets_run_what_runs(bench: Bench) -> None:
    bench.book.define(20)
    bench.book.queue(range(1, 11))
    bench.book.queue(range(11, 21), OTHER)
    bench.agent()
    out(bench)
    held = bench.claim()
    before = bench.broker.queues[CLASS], bench.broker.queues[class_id(OTHER)]
    assert list(map(len, before)) == [3, 4]

    limit(bench, 2)

    assert out(bench) == 2
    assert bench.broker.held == {held.id: "a1"}
    assert bench.broker.queues[CLASS] == [2]
    assert bench.book.states().count(State.FED) == 2


def test_without_a_limit_again_all_goes_on(bench: Bench) -> None:
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    limit(bench, 1)
    out(bench)
    limit(bench, None)

    assert out(bench) == 4
