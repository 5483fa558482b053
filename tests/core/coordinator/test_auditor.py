"""Auditing: what was fed and is nowhere is fed again, and nothing else."""

from __future__ import annotations

from tests.core.book import CLASS

from batchpilot.coordinator.auditor import ANNOUNCEMENT, EVERY, REOPENING, YOUNGEST
from batchpilot.coordinator.happenings import JobsRequeued
from batchpilot.store.pages import State

from .conftest import Bench


NOW = 5000.0


def fed(bench: Bench) -> Bench:
    """Feed four jobs, one a chunk; agent a1 claims the first two."""
    bench.book.define(4)
    bench.book.queue([1, 2, 3, 4])
    bench.agent()
    bench.feeder.tick(NOW)
    bench.claim()
    bench.claim()
    return bench


def test_what_is_queued_or_leased_is_left_alone(bench: Bench) -> None:
    assert fed(bench).auditor.audit(NOW + 60) == 0
    assert bench.book.states() == [State.FED] * 4


def test_queued_chunks_that_are_gone_are_queued_again(bench: Bench) -> None:
    fed(bench).broker.queues[CLASS].clear()

    assert bench.auditor.audit(NOW + 60) == 2
    assert bench.book.states() == [State.FED] * 2 + [State.QUEUED] * 2
    assert bench.told(JobsRequeued) == [JobsRequeued("audit", 2)]


def test_a_chunk_that_was_just_fed_is_given_time(bench: Bench) -> None:
    fed(bench).broker.queues[CLASS].clear()

    assert bench.auditor.audit(NOW + YOUNGEST - 1) == 0
    assert bench.auditor.audit(NOW + YOUNGEST) == 2


def test_an_audit_is_made_every_half_minute(bench: Bench) -> None:
    fed(bench)
    assert bench.auditor.tick(NOW + 60) == 0
    bench.broker.queues[CLASS].clear()

    assert bench.auditor.tick(NOW + 60 + EVERY - 1) == 0
    assert bench.auditor.tick(NOW + 60 + EVERY) == 2


def test_after_a_loss_leased_chunks_wait_for_their_agents(bench: Bench) -> None:
    fed(bench).broker.queues[CLASS].clear()
    bench.broker.held.clear()
    bench.auditor.after_loss(NOW)

    assert bench.auditor.tick(NOW) == 0
    assert bench.auditor.tick(NOW + REOPENING) == 2
    bench.broker.held[1] = "a1"  # announced again
    assert bench.auditor.tick(NOW + ANNOUNCEMENT) == 1
    assert bench.book.states() == [State.FED] + [State.QUEUED] * 3


def test_what_has_ended_meanwhile_is_not_fed_again(bench: Bench) -> None:
    """The agent has finished the chunk and its event is on the way."""
    fed(bench)
    agent = bench.agents["a1"]
    agent.end(1)
    agent.end_chunk(1, jobs=1)
    del bench.broker.held[1]

    assert bench.auditor.audit(NOW + 60) == 0
    assert bench.book.states()[0] is State.DONE


def test_a_chunk_that_its_agent_twice_does_not_know_is_fed_again(bench: Bench) -> None:
    """The agent's claim was served, and the answer lost."""
    fed(bench).auditor.hello("a1", [2])

    assert bench.broker.told["a1"] == [{"kind": "announce"}]
    assert bench.auditor.audit(NOW + 60) == 0
    bench.auditor.hello("a1", [2])
    assert bench.auditor.audit(NOW + 60) == 1
    assert bench.book.states() == [State.QUEUED] + [State.FED] * 3


def test_a_claim_that_was_lost_before_anybody_saw_its_lease_is_fed_again(bench: Bench) -> None:
    """The broker went down with the answer on its way, and came back with the lease."""
    fed(bench).broker.claim("a1", CLASS)

    bench.auditor.hello("a1", [1, 2])
    bench.auditor.hello("a1", [1, 2])

    assert bench.auditor.audit(NOW + 60) == 1
    assert bench.book.states() == [State.FED] * 2 + [State.QUEUED, State.FED]


def test_a_chunk_claimed_after_an_old_hello_is_left_alone(bench: Bench) -> None:
    """The hello was said to a coordinator that has died since."""
    fed(bench).auditor.hello("a1", [])
    bench.auditor.hello("a1", [1, 2])

    assert bench.auditor.audit(NOW + 60) == 0
    assert len(bench.broker.told["a1"]) == 1
