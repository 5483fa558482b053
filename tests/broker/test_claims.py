"""Claims: what an agent is given, in which order, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchpilot_broker.errors import ForgedMessage
from batchpilot_broker.nouns import ResourceClass


if TYPE_CHECKING:
    from tests.broker.conftest import Bench


def test_a_chunk_arrives_as_it_was_fed(bench: Bench) -> None:
    fed = replace(bench.chunk(1, jobs=4), shown={"walltime": 5}, ranges=((7, 9), (3, 3)))
    size = bench.coordinator().feed([fed])

    assert size > 0
    assert bench.agent().claim("a1", [(bench.CLASS, 0)]) == fed


def test_a_claim_is_a_lease_and_empties_the_queue(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1), bench.chunk(2)])

    agent.claim("a1", [(bench.CLASS, 0)])

    assert coordinator.leases() == {1: "a1"}
    assert coordinator.queued(bench.CLASS) == [2]


def test_two_agents_never_get_the_same_chunk(bench: Bench) -> None:
    one, two = bench.agent("a1"), bench.agent("a2")
    bench.coordinator().feed([bench.chunk(n) for n in range(1, 21)])

    got = [e.claim(n, [(bench.CLASS, 0)]) for _ in range(10) for e, n in ((one, "a1"), (two, "a2"))]

    assert [c.id for c in got if c] == list(range(1, 21))


def test_nothing_offered_or_nothing_queued_gives_nothing(bench: Bench) -> None:
    agent = bench.agent()

    assert agent.claim("a1", []) is None
    assert agent.claim("a1", [(bench.CLASS, 0), (bench.OTHER, 5)]) is None


def test_higher_priority_comes_first(bench: Bench) -> None:
    bench.coordinator().feed([bench.chunk(1), bench.chunk(2, bench.OTHER)])
    agent, offer = bench.agent(), [(bench.CLASS, -1), (bench.OTHER, 3)]

    order = [agent.claim("a1", offer) for _ in range(3)]

    assert [c and c.id for c in order] == [2, 1, None]


def test_of_equal_priority_the_oldest_head_comes_first_by_number(bench: Bench) -> None:
    numbers = {9: bench.CLASS, 10: bench.OTHER, 11: bench.CLASS, 100: bench.OTHER}
    bench.coordinator().feed([bench.chunk(n, c) for n, c in numbers.items()])
    agent, offer = bench.agent(), [(bench.OTHER, 0), (bench.CLASS, 0)]

    order = [agent.claim("a1", offer) for _ in numbers]

    assert [c and c.id for c in order] == [9, 10, 11, 100]


def test_what_is_fed_again_waits_for_nothing_but_its_like(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1), bench.chunk(2), bench.chunk(3, bench.OTHER)])

    coordinator.feed([bench.chunk(4), bench.chunk(5), bench.chunk(6)], again=2)
    coordinator.feed([bench.chunk(7), bench.chunk(8, bench.OTHER)], again=2)

    assert coordinator.queued(bench.CLASS) == [4, 5, 7, 1, 2, 6]
    offer = [(bench.OTHER, 0), (bench.CLASS, 0)]
    order = [agent.claim("a1", offer) for _ in range(8)]
    assert [c and c.id for c in order] == [4, 5, 7, 8, 1, 2, 3, 6]
    coordinator.feed([bench.chunk(9), bench.chunk(10)], again=1)
    assert coordinator.queued(bench.CLASS) == [9, 10]


def test_feeding_twice_is_harmless(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1), bench.chunk(2)])
    agent.claim("a1", [(bench.CLASS, 0)])

    coordinator.feed([bench.chunk(1), bench.chunk(2), bench.chunk(3)])

    assert coordinator.queued(bench.CLASS) == [2, 3]


def test_what_was_lost_from_a_queue_can_be_fed_again(bench: Bench) -> None:
    coordinator = bench.coordinator()
    coordinator.feed([bench.chunk(1)])
    bench.client.delete(bench.keys.queue_list(bench.CLASS))

    coordinator.feed([bench.chunk(1)])

    assert coordinator.queued(bench.CLASS) == [1]


def test_foreign_entries_and_lost_jobs_are_dropped_and_counted(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    queue = bench.keys.queue_list(bench.CLASS)
    bench.client.rpush(queue, "somebody-elses", f"{bench.keys.prefix}cX", bench.keys.job(7))
    coordinator.feed([bench.chunk(8)])

    claimed = agent.claim("a1", [(bench.CLASS, 0)])

    assert claimed
    assert claimed.id == 8
    assert (bench.count(bench.keys.foreign), bench.count(bench.keys.gone)) == (2, 1)
    assert bench.client.llen(queue) == 0


def test_finish_ends_the_lease_and_leaves_no_payload(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1, pars=b"secret parameters")])
    agent.claim("a1", [(bench.CLASS, 0)])
    job = f"rq:job:{bench.keys.job(1)}"
    before = len(bench.client.hget(job, "data") or b"")

    agent.finish("a1", 1, jobs=1, seconds=0.5)

    assert coordinator.leases() == {}
    assert len(bench.client.hget(job, "data") or b"") < before
    assert 0 < bench.client.ttl(job) <= 600


def test_only_the_holder_finishes_a_chunk(bench: Bench) -> None:
    coordinator, one, two = bench.coordinator(), bench.agent("a1"), bench.agent("a2")
    coordinator.feed([bench.chunk(1)])
    one.claim("a1", [(bench.CLASS, 0)])

    two.finish("a2", 1, jobs=1, seconds=0.5)
    two.finish("a2", 99, jobs=1, seconds=0.5)

    assert coordinator.leases() == {1: "a1"}


def test_an_empty_queue_has_no_bell_and_one_with_work_left_has(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    bell = bench.keys.bell(bench.CLASS)
    coordinator.feed([bench.chunk(1), bench.chunk(2)])
    bench.client.delete(bell)

    agent.claim("a1", [(bench.CLASS, 0)])
    rung = bench.client.llen(bell)
    agent.claim("a1", [(bench.CLASS, 0)])

    assert (rung, bench.client.exists(bell)) == (1, 0)


def test_bells_do_not_grow_with_the_queue(bench: Bench) -> None:
    bench.coordinator().feed([bench.chunk(n) for n in range(1, 1102)])

    assert bench.client.llen(bench.keys.bell(bench.CLASS)) == 1000


def test_withdrawn_are_only_those_still_queued(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(n) for n in (1, 2, 3)])
    agent.claim("a1", [(bench.CLASS, 0)])

    withdrawn = coordinator.withdraw(bench.CLASS, [1, 3, 99])

    assert withdrawn == [3]
    assert coordinator.queued(bench.CLASS) == [2]
    assert not bench.client.exists(f"rq:job:{bench.keys.job(3)}")
    assert coordinator.leases() == {1: "a1"}


def test_a_released_chunk_leaves_nothing(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1)])
    agent.claim("a1", [(bench.CLASS, 0)])

    coordinator.release(1)
    coordinator.release(1)

    assert coordinator.leases() == {}
    assert not list(bench.client.scan_iter(f"*{bench.keys.job(1)}*"))


def test_a_forgotten_agent_leaves_nothing_but_the_numbers_of_its_chunks(bench: Bench) -> None:
    coordinator, lost, other = bench.coordinator(), bench.agent("lost"), bench.agent("other")
    coordinator.feed([bench.chunk(n) for n in (1, 2, 3)])
    lost.claim("lost", [(bench.CLASS, 0)])
    other.claim("other", [(bench.CLASS, 0)])
    lost.claim("lost", [(bench.CLASS, 0)])
    coordinator.control("lost", "drain")

    held = coordinator.forget("lost")

    survey = coordinator.survey()
    assert sorted(held) == [1, 3]
    assert survey.leases == {2: "other"}
    assert set(survey.agents) == set(survey.beats) == set(survey.states) == {"other"}
    assert not list(bench.client.scan_iter(f"*{bench.instance}*lost*"))
    assert not bench.client.sismember("rq:workers", bench.keys.worker_hash("lost"))


def test_an_agent_that_leaves_takes_its_keys_but_not_its_leases(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1)])
    agent.claim("a1", [(bench.CLASS, 0)])

    agent.leave("a1")

    survey = coordinator.survey()
    assert (survey.agents, survey.beats, survey.states) == ({}, {}, {})
    assert survey.leases == {1: "a1"}
    assert not bench.client.exists(bench.keys.worker_hash("a1"))


def test_an_agent_holds_again_what_a_new_broker_does_not_know(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    bench.client.hset(bench.keys.leases, "6", "other")

    agent.hold("a1", [5, 6])

    assert coordinator.leases() == {5: "a1", 6: "other"}


def test_classes_reach_agents(bench: Bench) -> None:
    wanted = ResourceClass(ncpus=4, template=(("partition", "long"),), threads=(2, 1))
    bench.coordinator().announce(bench.CLASS, wanted)

    assert bench.agent().classes() == {bench.CLASS: wanted}


def test_a_class_from_somebody_else_is_left_out_and_counted(bench: Bench) -> None:
    agent = bench.agent()
    bench.client.hset(bench.keys.classes, bench.CLASS, b"\x00" * 80)

    assert agent.classes() == {}
    assert bench.count(bench.keys.forged) == 1


def test_a_job_with_another_chunks_payload_is_refused(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1), bench.chunk(2)])
    copied = bench.client.hget(f"rq:job:{bench.keys.job(2)}", "data") or b""
    bench.client.hset(f"rq:job:{bench.keys.job(1)}", "data", copied)

    with pytest.raises(ForgedMessage, match="chunk 1 carries chunk 2"):
        agent.claim("a1", [(bench.CLASS, 0)])

    assert coordinator.leases() == {}
