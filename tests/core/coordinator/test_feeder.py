"""Feeding: which jobs go to the broker, when, in which order and under which attempt."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from tests.core.book import CLASS, array

from batchpilot.coordinator.feeder import AHEAD_JOBS, JOBS_A_TICK
from batchpilot.coordinator.happenings import ChunksFed
from batchpilot.errors import OwnershipLost
from batchpilot.resources import class_id
from batchpilot.store.changing import queue_again, revoke
from batchpilot.store.pages import State
from batchpilot_broker.errors import BrokerFull, BrokerUnavailable, TermSuperseded
from batchpilot_broker.nouns import Chunk, Isolation, Outcome, ResourceClass

from .conftest import Bench


NOW = 5000.0


def tick(bench: Bench) -> list[list[int]]:
    """Feed once; return the jobs of the chunks fed, in the order of the queue."""
    before = set(bench.broker.chunks)
    bench.feeder.tick(NOW)
    queue = [number for numbers in bench.broker.queues.values() for number in numbers]
    return [bench.broker.chunks[number].ids() for number in queue if number not in before]


def teach(bench: Bench, seconds: float, jobs: int = 1000) -> None:
    """Let the run time of jobs be known."""
    for _ in range(3):
        bench.sizer.observe(CLASS, seconds * jobs, jobs)


def queue(bench: Bench) -> list[Chunk]:
    return [bench.broker.chunks[number] for number in bench.broker.queues[CLASS]]


def test_until_a_run_time_is_known_two_single_jobs_a_slot_are_fed(bench: Bench) -> None:
    bench.book.define(100)
    bench.book.queue(range(1, 101))

    assert tick(bench) == [[1], [2], [3], [4]]
    assert tick(bench) == []
    assert bench.book.states().count(State.FED) == 4


def test_a_claimed_chunk_makes_no_room_before_its_run_time_is_known(bench: Bench) -> None:
    bench.book.define(100)
    bench.book.queue(range(1, 101))
    bench.agent()
    tick(bench)
    bench.claim()

    assert tick(bench) == []


def test_known_jobs_are_fed_in_chunks_up_to_a_limit_a_tick(bench: Bench) -> None:
    bench.book.define(40_000)
    bench.book.queue(range(1, 40_001))
    teach(bench, 0.0001)

    fed = tick(bench)

    assert [job for chunk in fed for job in chunk] == list(range(1, sum(map(len, fed)) + 1))
    assert max(map(len, fed)) == 4096
    assert JOBS_A_TICK <= sum(map(len, fed)) < JOBS_A_TICK + 4096
    assert bench.feeder.hungry


def test_what_is_fed_ahead_is_bounded(bench: Bench) -> None:
    jobs = AHEAD_JOBS + 50_000
    bench.book.define(jobs)
    bench.book.queue(range(1, jobs + 1))
    teach(bench, 0.0001)
    while bench.feeder.tick(NOW):
        pass

    fed = bench.book.states().count(State.FED)
    assert AHEAD_JOBS <= fed <= AHEAD_JOBS + JOBS_A_TICK + 4096
    assert not bench.feeder.hungry


def test_jobs_are_fed_in_the_order_given(bench: Bench) -> None:
    bench.book.define(6)
    bench.book.queue([5, 3, 4, 1])

    assert tick(bench) == [[5], [3], [4], [1]]


def test_a_chunk_carries_its_jobs_parameters_in_their_order(bench: Bench) -> None:
    bench.book.define(3000)
    bench.book.queue([2000, 1, 2, 1024, 1025])
    teach(bench, 0.001)
    tick(bench)

    assert [value for chunk in queue(bench) for value in parameters(chunk)] == [
        *(2000, 1, 2, 1024, 1025)
    ]
    assert {chunk.seed for chunk in queue(bench)} == {1}


def parameters(chunk: Chunk) -> list[int]:
    """Return the one parameter of each job, which is its id."""
    bounds = pairwise(np.frombuffer(chunk.offsets, "<u4").tolist())
    return [pickle.loads(chunk.pars[start:end])[0] for start, end in bounds]  # noqa: S301 - made by this test


def test_an_attempt_is_one_more_than_any_its_jobs_had(bench: Bench) -> None:
    bench.book.define(3)
    bench.book.queue([1, 2, 3])
    with bench.book.database.write() as tx:
        tx.pages.put("attempt", array([1, 2, 3]), np.array([4, 0, 9]))
    teach(bench, 0.0001)
    tick(bench)

    numbers = {job: chunk.attempt for chunk in queue(bench) for job in chunk.ids()}
    assert list(numbers.values()) == bench.book.column("attempt")
    assert all(numbers[job] > old for job, old in zip((1, 2, 3), (4, 0, 9), strict=True))


def test_a_lost_job_is_fed_alone_before_all_others(bench: Bench) -> None:
    bench.book.define(100)
    bench.book.queue(range(1, 101))
    teach(bench, 0.01)
    bench.agent()
    fed = tick(bench)
    chunk = bench.claim()
    last = chunk.ids()[-1]
    bench.agents["a1"].end(last, Outcome.LOST)
    bench.hear(bench.agents["a1"].report())

    tick(bench)

    assert queue(bench)[0].ids() == [last]
    assert queue(bench)[0].attempt == 2
    assert queue(bench)[1].ids() == fed[1]


def test_what_comes_back_is_fed_although_the_queue_is_full(bench: Bench) -> None:
    bench.book.define(30)
    bench.book.queue(range(1, 31))
    assert tick(bench) == [[1], [2], [3], [4]]
    with bench.book.database.write() as tx:
        queue_again(tx, array([2]), alone=True)

    assert tick(bench) == [[2]]
    assert queue(bench)[0].ids() == [2]


def test_jobs_taken_back_since_are_passed_over(bench: Bench) -> None:
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    with bench.book.database.write() as tx:
        revoke(tx, array([1, 2]))

    assert tick(bench) == [[3], [4], [5], [6]]


def test_a_job_submitted_anew_is_fed_once_and_in_its_new_place(bench: Bench) -> None:
    bench.book.define(3)
    bench.book.queue([1, 2, 3])
    with bench.book.database.write() as tx:
        revoke(tx, array([1]))
    bench.book.queue([1])

    assert tick(bench) == [[2], [3], [1]]


def test_each_class_has_its_own_queue_and_is_announced(bench: Bench) -> None:
    big = ResourceClass(memory=100.0, walltime=60.0)
    bench.book.define(8)
    bench.book.queue([1, 2])
    bench.book.queue([3, 4], big)
    tick(bench)

    queues = {
        name: [bench.broker.chunks[n].ids() for n in numbers]
        for name, numbers in bench.broker.queues.items()
    }
    assert queues == {CLASS: [[1], [2]], class_id(big): [[3], [4]]}
    assert bench.broker.classes == {CLASS: ResourceClass(), class_id(big): big}
    assert bench.broker.chunks[bench.broker.queues[class_id(big)][0]].shown == {"walltime": 60.0}


@pytest.mark.parametrize(
    ("needed", "seconds", "isolation"),
    [
        (ResourceClass(), 0.01, Isolation.SLOT),
        (ResourceClass(), 2.0, Isolation.PROCESS),
        (ResourceClass(isolation=Isolation.PROCESS), 0.01, Isolation.PROCESS),
        (ResourceClass(isolation=Isolation.SLOT), 2.0, Isolation.SLOT),
    ],
)
def test_long_jobs_get_a_process_each_unless_asked_otherwise(
    bench: Bench, needed: ResourceClass, seconds: float, isolation: Isolation
) -> None:
    name = class_id(needed)
    bench.book.define(2)
    bench.book.queue([1, 2], needed)
    bench.sizer.observe(name, seconds, 1)
    tick(bench)

    assert {bench.broker.chunks[n].isolation for n in bench.broker.queues[name]} == {isolation}


def test_what_is_committed_but_not_enqueued_is_found_by_the_audit(bench: Bench) -> None:
    """The broker goes away between its question for depths and the feed."""
    bench.book.define(2)
    bench.book.queue([1, 2])
    tick(bench)
    bench.broker.queues.clear()

    assert bench.auditor.audit(NOW + 10) == 2
    assert tick(bench) == [[1], [2]]
    assert bench.book.column("attempt") == [2, 2]


def test_nothing_is_changed_while_the_broker_is_away(bench: Bench) -> None:
    bench.book.define(2)
    bench.book.queue([1, 2])
    bench.broker.up = False

    with pytest.raises(BrokerUnavailable):
        bench.feeder.tick(NOW)

    assert bench.book.states() == [State.QUEUED] * 2


def test_a_superseded_coordinator_feeds_nothing(bench: Bench) -> None:
    bench.book.define(2)
    bench.book.queue([1, 2])
    bench.broker.office += 1

    with pytest.raises(TermSuperseded):
        bench.feeder.tick(NOW)

    assert bench.broker.chunks == {}


def test_a_coordinator_that_lost_the_registry_feeds_nothing(bench: Bench) -> None:
    bench.book.define(2)
    bench.book.queue([1, 2])
    bench.book.database.term = None
    with bench.book.database.write() as tx:
        tx.set_meta("term", bench.desk.term + 1)
    bench.book.database.term = bench.desk.term

    with pytest.raises(OwnershipLost):
        bench.feeder.tick(NOW)

    assert bench.broker.chunks == {}


def test_what_was_fed_is_told(bench: Bench) -> None:
    bench.book.define(2)
    bench.book.queue([1, 2])
    tick(bench)

    assert bench.told(ChunksFed) == [ChunksFed(CLASS, 2, 2)]


def test_a_full_broker_is_fed_less_until_it_takes_it_and_nothing_is_left_out(bench: Bench) -> None:
    jobs = 20_000
    bench.book.define(jobs)
    bench.book.queue(range(1, jobs + 1))
    teach(bench, 0.0001)
    bench.broker.room = 30_000
    refused = 0
    for second in range(40):
        try:
            bench.feeder.tick(NOW + 2 * second)
        except BrokerFull:
            refused += 1
            assert bench.book.states().count(State.FED) == sum(
                chunk.size for chunk in bench.broker.chunks.values()
            )
        if refused > 3:
            bench.broker.room = 1 << 40
    bench.feeder.tick(NOW + 100)

    assert refused > 3
    fed = [job for chunk in bench.broker.chunks.values() for job in chunk.ids()]
    assert sorted(fed) == list(range(1, jobs + 1))
