"""When the pilot leaves, and what it does with what it holds; the clock is handed in."""

from __future__ import annotations

from batchpilot_agent.settings import Exit
from batchpilot_broker.files import write_json

from .conftest import MakeStage
from .memorybroker import chunk_of
from .stage import Stage


def test_idle_time_counts_only_while_a_coordinator_lives(staged: MakeStage) -> None:
    stage = staged(idle_timeout=20.0)
    stage.broker.coordinator_alive = False
    for _ in range(60):
        stage.step(1.0)
    assert not stage.pilot.holdings.draining
    stage.broker.coordinator_alive = True
    for _ in range(30):
        stage.step(1.0)

    assert stage.pilot.leaver.code is Exit.LEFT
    assert stage.broker.said[-1] == {"kind": "bye", "agent": "a1", "reason": "idle"}
    assert stage.broker.agents == {}


def test_one_of_a_crowd_that_came_too_late_waits_for_its_turn_to_say_so(staged: MakeStage) -> None:
    stage = staged(deadline=1000.0 + 15.0, crowd=101)
    stage.step()
    assert stage.pilot.holdings.draining
    assert stage.pilot.leaver.code is None

    stage.step(1.1)

    assert stage.pilot.leaver.code is Exit.LEFT
    assert [said["kind"] for said in stage.broker.said] == ["hello", "bye"]
    assert stage.broker.said[-1]["reason"] == "walltime"


def test_one_that_came_too_late_and_finds_no_broker_goes_nevertheless(staged: MakeStage) -> None:
    stage = staged(deadline=1000.0 + 15.0, crowd=101)
    stage.broker.down = True
    stage.step()
    stage.step(5.1)

    assert stage.pilot.leaver.code is Exit.LEFT
    assert stage.broker.said == []


def test_work_ends_idle_time(staged: MakeStage) -> None:
    stage = staged(idle_timeout=20.0)
    for _ in range(3):
        for _ in range(15):
            stage.step(1.0)
        stage.feed(chunk_of(len(stage.broker.finished) + 1))
        stage.busy[0].run_all()
        stage.step()

    assert not stage.pilot.holdings.draining


def test_it_ends_when_its_registry_has_another_instance(stage: Stage) -> None:
    write_json(stage.settings.paths.owner, {"instance": "other"})
    stage.step(5.1)

    assert stage.pilot.leaver.code is Exit.REGISTRY_GONE


def test_it_ends_when_the_owners_record_is_gone_for_good(stage: Stage) -> None:
    stage.settings.paths.owner.unlink()
    stage.step(5.1)
    stage.step(5.1)
    assert stage.pilot.leaver.code is None
    stage.step(5.1)

    assert stage.pilot.leaver.code is Exit.REGISTRY_GONE


def test_draining_an_order_that_never_began_takes_no_time(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    stage.pilot.obey({"kind": "drain"}, stage.clock.now)
    stage.step()

    assert stage.handed_back() == [[1, [[100, 101]], "unstarted", False]]
    assert slot.announce(0, 1.0) == 0
    assert stage.pilot.leaver.code is Exit.LEFT


def test_draining_hands_back_prefetched_chunks(stage: Stage) -> None:
    stage.feed(*(chunk_of(n, jobs=2) for n in (1, 2, 3, 4)))
    for slot in stage.busy:
        slot.announce(1, 1.0)
    stage.pilot.obey({"kind": "drain"}, stage.clock.now)
    stage.step()
    assert stage.broker.finished == [(3, 0), (4, 0)]
    for slot in stage.busy:
        slot.record(0)
        slot.record(1)
        slot.end(2)
    stage.step()

    assert stage.pilot.leaver.code is Exit.LEFT
    assert stage.broker.finished == [(3, 0), (4, 0), (1, 2), (2, 2)]
    assert stage.broker.leases == {}


def test_the_allocations_end_is_a_reason_to_leave(staged: MakeStage) -> None:
    stage = staged(deadline=1000.0 + 100.0, grace=10.0)
    stage.feed(chunk_of(1))
    stage.step(79.0)
    assert not stage.pilot.holdings.draining
    stage.step(2.0)

    assert stage.pilot.holdings.draining
