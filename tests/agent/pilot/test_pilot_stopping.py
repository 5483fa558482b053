"""The pilot takes jobs back from a slot: cancelled ones, mates of a job that runs too long."""

from __future__ import annotations

from dataclasses import replace

from batchpilot_broker.nouns import ResourceClass

from .memorybroker import chunk_of
from .stage import Stage


def test_a_limited_order_goes_on_without_the_cancelled_jobs(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=5))
    (slot,) = stage.busy
    slot.announce(0, 1.0)
    stage.pilot.obey({"kind": "cancel", "ranges": [[102, 103]], "attempt": 1}, stage.clock.now)
    assert slot.announce(1, 1.0) == 2
    slot.record(0)
    slot.record(1)
    slot.end(2, "limit")
    stage.step()

    assert slot.jobs == [104]
    assert slot.order[5:7] == [bytes(4) + b"\4\0\0\0", b"p004"]
    slot.run_all()
    stage.step()
    assert stage.broker.finished == [(1, 3)]


def test_a_chunk_cancelled_while_its_template_loads_is_finished(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2), chunk_of(2, jobs=2))
    stage.pilot.obey({"kind": "cancel", "ranges": [[100, 101]], "attempt": 1}, stage.clock.now)
    stage.step()

    assert stage.broker.finished == [(1, 0)]
    assert [slot.jobs for slot in stage.busy] == [[200, 201]]


def test_a_waiting_chunk_that_is_cancelled_is_finished(stage: Stage) -> None:
    stage.feed(*(chunk_of(n, jobs=2) for n in (1, 2, 3)))
    stage.pilot.obey({"kind": "cancel", "ranges": [[300, 301]], "attempt": 1}, stage.clock.now)
    stage.step()

    assert stage.broker.finished == [(3, 0)]


def test_the_job_that_began_while_another_was_ended_is_run_again(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=3))
    (slot,) = stage.busy
    slot.announce(0, 1.0)
    stage.pilot.obey({"kind": "cancel", "ranges": [[100, 100]], "attempt": 1}, stage.clock.now)
    slot.announce(1, 1.0)  # had looked at the limit just before
    stage.templates[0].ended(slot, 15)
    stage.step()

    assert stage.busy[0].jobs == [101, 102]
    assert stage.rows() == []


def test_a_job_that_begins_during_a_turn_has_its_whole_walltime(stage: Stage) -> None:
    stage.feed(chunk_of(1, resources=ResourceClass(walltime=10.0)))
    (slot,) = stage.busy
    turn = stage.clock.now
    stage.clock.now += 5.0
    stage.wall.now += 5.0
    slot.announce(0, stage.wall.now)
    stage.pilot.tick(turn)

    ((_, order),) = stage.pilot.holdings.orders()
    stage.step(9.9)
    assert order.verdict is None
    stage.step(0.2)
    assert order.verdict


def test_overrun_hands_back_mates_and_what_waits_behind(stage: Stage) -> None:
    stage.feed(*(chunk_of(n, jobs=3, budget=1.0) for n in (1, 2, 3)))
    for slot in stage.busy:
        slot.announce(0, stage.wall.now)
    stage.step(0.06)
    assert stage.handed_back() == []
    stage.step(1.1)

    assert stage.handed_back() == [
        [1, [[101, 102]], "overrun", False],
        [2, [[201, 202]], "overrun", False],
        [3, [[300, 302]], "overrun", False],
    ]
    assert stage.broker.finished == [(3, 0)]
    slot = stage.busy[0]
    assert slot.announce(1, stage.wall.now) == 1
    slot.record(0)
    slot.end(1, "limit")
    stage.step()
    assert stage.broker.finished == [(3, 0), (1, 1)]


def test_jobs_that_stay_together_are_not_handed_back_but_what_waits_behind_is(
    stage: Stage,
) -> None:
    together = [replace(chunk_of(n, jobs=3, budget=1.0), whole=True) for n in (1, 2)]
    stage.feed(*together, chunk_of(3, jobs=3))
    for slot in stage.busy:
        slot.announce(0, stage.wall.now)
    stage.step(0.06)
    stage.step(1.1)

    assert stage.handed_back() == [[3, [[300, 302]], "overrun", False]]


def test_a_job_announced_while_its_mates_are_handed_back_is_kept(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=3, budget=1.0))
    (slot,) = stage.busy
    slot.announce(0, stage.wall.now)
    stage.step(0.06)
    slot.announce(1, stage.wall.now)
    stage.step(2.0)

    assert stage.handed_back() == [[1, [[102, 102]], "overrun", False]]
