"""Chunks that the user made: fed whole, in their order, and kept together when they come back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.core.book import CLASS, PLAIN, array

from batchpilot.lots import Lot
from batchpilot.registry.enlisting import Entry, enlist
from batchpilot.store.changing import end_chunk, revoke
from batchpilot.store.pages import State
from batchpilot_broker.nouns import Chunk, Outcome, ResourceClass

from .conftest import Bench


NOW = 5000.0


def chunked(
    bench: Bench, chunks: Sequence[Sequence[int]], needed: ResourceClass = PLAIN
) -> list[list[int]]:
    """Define and submit jobs in chunks; feed what there is room for."""
    ids = np.concatenate([array(chunk) for chunk in chunks])
    bench.book.define(int(ids.max()))
    lot = Lot(ids=ids, resources={}, ends=np.cumsum([len(chunk) for chunk in chunks]))
    enlist(bench.book.database.write, [Entry(lot=lot, needed=needed, epoch="e")])
    return tick(bench)


def tick(bench: Bench) -> list[list[int]]:
    """Feed once; return the jobs of the chunks fed, in the order of the queue."""
    before = set(bench.broker.chunks)
    bench.feeder.tick(NOW)
    return [chunk.ids() for chunk in queue(bench) if chunk.id not in before]


def queue(bench: Bench) -> list[Chunk]:
    return [bench.broker.chunks[number] for number in bench.broker.queues[CLASS]]


def test_a_chunk_is_fed_whole_before_its_run_time_is_known(bench: Bench) -> None:
    assert chunked(bench, [[5, 4, 3], [1, 2], [6]]) == [[5, 4, 3], [1, 2], [6]]
    assert all(chunk.whole for chunk in queue(bench))


def test_neither_more_nor_less_than_a_chunk_is_fed_when_it_is_known(bench: Bench) -> None:
    for seconds in (0.0001, 5.0):
        bench.sizer.observe(CLASS, seconds * 100, 100)
    chunks = [list(range(n, n + 5)) for n in range(1, 81, 5)]

    assert chunked(bench, chunks) == chunks


def test_only_so_many_chunks_are_fed_as_there_is_room_for(bench: Bench) -> None:
    chunks = [[n, n + 1] for n in range(1, 41, 2)]

    assert chunked(bench, chunks) == chunks[:4]
    assert tick(bench) == []


def test_jobs_killed_since_are_left_out_of_their_chunk(bench: Bench) -> None:
    bench.desk.pools = []  # one slot
    assert chunked(bench, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]) == [[1, 2, 3], [4, 5, 6]]
    with bench.book.database.write() as tx:
        revoke(tx, array([8]))
        for chunk in (1, 2):
            tx.execute("drop_chunk", chunk)
    bench.broker.queues.clear()

    assert tick(bench) == [[7, 9]]


def test_a_chunk_taken_back_unfed_comes_back_whole(bench: Bench) -> None:
    bench.sizer.observe(CLASS, 100.0, 1)
    chunked(bench, [[5, 4, 3], [1, 2]])
    with bench.book.database.write() as tx:
        end_chunk(tx, 1)

    assert tick(bench) == [[5, 4, 3]]


def test_what_a_lost_agent_held_of_a_chunk_comes_back_in_one_chunk(bench: Bench) -> None:
    agent = bench.agent()
    chunked(bench, [[5, 4, 3, 2, 1]])
    chunk = bench.claim()
    agent.begin_chunk(chunk.id)
    agent.end(5)
    bench.hear(agent.report())

    bench.judge.end("a1", "lost", NOW)

    assert bench.book.again() == [(False, [4, 3, 2, 1])]
    assert bench.book.column("charged") == [0, 0, 0, 1, 0]
    assert tick(bench) == [[4, 3, 2, 1]]


def test_a_job_that_is_worn_out_does_not_take_its_mates_with_it(bench: Bench) -> None:
    chunked(bench, [[3, 2, 1]])
    for name in ("a1", "a2", "a3"):
        agent = bench.agent(name)
        agent.begin_chunk(bench.claim(name).id)
        bench.hear(agent.report())
        bench.judge.end(name, "lost", NOW)
        tick(bench)

    assert bench.book.states() == [State.FED, State.FED, State.EXPIRED]
    assert [chunk.ids() for chunk in queue(bench)] == [[2, 1]]


def test_a_job_that_is_lost_alone_is_tried_alone(bench: Bench) -> None:
    agent = bench.agent()
    chunked(bench, [[3, 2, 1]])
    bench.claim()
    agent.end(3, Outcome.LOST)

    bench.hear(agent.report())

    assert tick(bench) == [[3]]
