"""Cancelling: what was ordered by `kill_jobs` is withdrawn, or ended where it runs."""

from __future__ import annotations

from tests.core.book import CLASS, array

from batchpilot.store.changing import revoke
from batchpilot.store.pages import State
from batchpilot.store.replay import read_stretch
from batchpilot_broker.frames import Kind

from .conftest import Bench


def fed(bench: Bench) -> Bench:
    """Feed four jobs, one a chunk; agent a1 claims the first."""
    bench.book.define(6)
    bench.book.queue(range(1, 7))
    bench.agent()
    bench.agent("a2")
    bench.broker.leave("a2")
    bench.feeder.tick(0.0)
    bench.claim()
    return bench


def kill(bench: Bench, *jobs: int) -> None:
    with bench.book.database.write() as tx:
        revoke(tx, array(jobs))
    assert bench.canceller.tick() == 1


def test_queued_chunks_are_withdrawn(bench: Bench) -> None:
    fed(bench)
    before = list(bench.broker.queues[CLASS])

    kill(bench, 2)

    assert bench.broker.queues[CLASS] == before[1:]
    assert bench.broker.told["a1"] == []
    assert bench.book.states()[:3] == [State.FED, State.DEFINED, State.FED]


def test_the_holder_of_a_leased_chunk_is_told(bench: Bench) -> None:
    kill(fed(bench), 1)

    assert bench.broker.told["a1"] == [{"kind": "cancel", "ranges": [[1, 1]], "attempt": 1}]
    assert bench.broker.held == {1: "a1"}


def test_mates_in_a_withdrawn_chunk_are_queued_again(bench: Bench) -> None:
    bench.book.define(100)
    bench.book.queue(range(1, 101))
    bench.sizer.observe(CLASS, 0.1, 100)
    bench.feeder.tick(0.0)
    chunk = bench.broker.chunks[bench.broker.queues[CLASS][0]]
    first, *mates = chunk.ids()

    kill(bench, first)

    assert bench.book.again() == [(False, mates)]
    assert bench.book.states()[first - 1] is State.DEFINED


def test_an_order_is_carried_out_once(bench: Bench) -> None:
    kill(fed(bench), 1, 2)

    assert bench.canceller.tick() == 0


def test_what_was_revoked_is_noted_for_repair(bench: Bench) -> None:
    kill(fed(bench), 1, 2)

    stretch = read_stretch(bench.desk.paths.segments / bench.desk.segment_name, 0)
    assert Kind.REVOKED in [kind for kind, _ in stretch.notes]
