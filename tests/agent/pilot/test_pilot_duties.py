"""The pilot's duties step by step, with a clock that is handed in and slots played by the test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchpilot_agent.settings import Exit
from batchpilot_broker.files import write_json
from batchpilot_broker.frames import ENDED, ROW, Kind
from batchpilot_broker.nouns import AgentState, Isolation, Outcome, Reason, ResourceClass

from .memorybroker import chunk_of
from .stage import Stage


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(tmp_path, **options))
        stages[0].step()
        return stages[0]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged()


def rows_of(stage: Stage) -> list[tuple[Any, ...]]:
    return [ROW.unpack_from(f.payload) for f in stage.frames() if f.kind == Kind.ROW]


def test_a_chunk_goes_to_a_slot_whole_and_as_it_came(stage: Stage) -> None:
    chunk = chunk_of(1, jobs=3)
    stage.feed(chunk)
    (slot,) = stage.busy
    kind, _, *rest = slot.order

    assert kind == "run"
    assert rest == [1, 1, [[100, 102]], chunk.offsets, chunk.pars, "slot", 1, {}, {}]


def test_orders_are_given_before_the_template_is_ready(stage: Stage) -> None:
    stage.feed(chunk_of(1), chunk_of(2))

    assert [slot.jobs for slot in stage.busy] == [[100], [200]]
    assert len(stage.templates) == 1


def test_a_slot_that_ended_goes_on_with_the_next_chunk_at_once(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2), chunk_of(2, jobs=2), chunk_of(3, jobs=2), chunk_of(4, jobs=2))
    first, second = stage.busy
    claims = len(stage.broker.leases)
    first.run_all()
    stage.step()

    assert claims == 4
    assert first.jobs == [300, 301]
    assert second.jobs == [200, 201]
    assert stage.broker.finished == [(1, 2)]


def test_nothing_is_claimed_ahead_behind_a_job_that_stands_alone(stage: Stage) -> None:
    stage.feed(*(chunk_of(n) for n in range(1, 6)))

    assert set(stage.broker.leases) == {1, 2}


def test_once_jobs_are_known_to_be_short_chunks_are_claimed_ahead(stage: Stage) -> None:
    stage.feed(*(chunk_of(n) for n in range(1, 6)))
    stage.busy[0].run_all(seconds=0.01)
    stage.step()

    assert set(stage.broker.leases) == {2, 3, 4, 5}


def test_once_jobs_are_known_to_be_long_nothing_is_claimed_ahead(stage: Stage) -> None:
    stage.feed(*(chunk_of(n, jobs=2) for n in range(1, 7)))
    stage.busy[0].run_all(seconds=60.0)
    stage.step()

    assert set(stage.broker.leases) == {2, 3, 4}


def test_an_idle_agent_claims_when_the_bell_rings_and_not_before(stage: Stage) -> None:
    stage.feed()
    stage.broker.feed(chunk_of(1))
    stage.pilot.obey({"kind": "classes"}, stage.clock.now)
    stage.step()
    stage.busy[0].run_all()
    stage.step()
    offers = len(stage.broker.offers)
    stage.broker.feed(chunk_of(2))
    stage.step(0.1)

    assert len(stage.broker.offers) == offers
    stage.pilot.obey({"kind": "bell", "class": "x"}, stage.clock.now)
    stage.step()
    assert stage.busy[0].jobs == [200]


def test_a_bell_that_was_not_heard_is_made_up_for(stage: Stage) -> None:
    stage.broker.feed(chunk_of(1))
    stage.step(6.0)

    assert stage.busy[0].jobs == [100]


def test_bells_are_listened_for_while_a_slot_is_free(stage: Stage) -> None:
    stage.feed(chunk_of(1))
    one_free = stage.broker.listening
    stage.feed(chunk_of(2))
    none_free = stage.broker.listening

    assert one_free == (chunk_of(1).class_id,)
    assert none_free == ()


def test_cores_are_shared_out(staged: Callable[..., Stage]) -> None:
    stage = staged(slots=4, cores=4)
    three, one = ResourceClass(ncpus=3), ResourceClass()
    stage.feed(chunk_of(1, resources=three), chunk_of(2, resources=three))
    stage.feed(*(chunk_of(n, resources=one) for n in (3, 4)))

    assert sorted(slot.jobs for slot in stage.busy) == [[100], [300]]


def test_a_process_isolated_chunk_gives_each_job_a_fresh_slot(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2, isolation=Isolation.PROCESS))
    stage.templates[0].tell("ready")
    stage.step()
    (first,) = stage.busy
    first.announce(0, 1.0)
    first.record(0)
    first.end(1, "leave:process")
    stage.step()
    (second,) = stage.busy

    assert first.orders[0][4] == [[100, 100]]
    assert first.orders[-1] == ["quit"]
    assert second is not first
    assert second.order[4:7] == [[[101, 101]], bytes(4) + b"\4\0\0\0", b"p001"]


def test_idle_slots_are_forked_ahead(stage: Stage) -> None:
    stage.feed(chunk_of(1))
    assert len(stage.slots) == 1
    stage.templates[0].tell("ready")
    stage.step()
    stage.step()

    assert len(stage.slots) == 2


def test_at_most_four_templates_are_kept(stage: Stage) -> None:
    for n in range(1, 7):
        stage.feed(chunk_of(n, epoch=f"{n:064x}"))
        stage.step()
        stage.busy[0].run_all()
        stage.step()

    assert [template.quit for template in stage.templates] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_threads_make_another_template(stage: Stage) -> None:
    stage.feed(chunk_of(1), chunk_of(2, resources=ResourceClass(threads=(2, 2))))

    assert len(stage.templates) == 2


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
    assert rows_of(stage) == []


def test_a_slot_that_never_begins_is_tried_three_times(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    for _ in range(3):
        stage.templates[0].ended(stage.busy[0], 9)
        stage.step()
    (row,) = rows_of(stage)

    assert (row[0], row[2], row[3]) == (100, Outcome.LOST, Reason.SIGNAL)
    assert stage.busy[0].jobs == [101]


def test_a_failed_template_fails_the_next_chunk_of_its_epoch_too(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.templates[0].tell("failed", "ImportError", "no", "Traceback …")
    stage.step()
    stage.feed(chunk_of(2))

    assert [row[0] for row in rows_of(stage)] == [100, 101, 200]
    assert {row[2] for row in rows_of(stage)} == {Outcome.ERROR}
    assert stage.broker.finished == [(1, 2), (2, 1)]
    assert len(stage.templates) == 1


def test_a_template_that_dies_before_it_is_ready_charges_its_jobs(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.templates[0].die()
    stage.step()

    assert [row[0:1] + row[2:4] for row in rows_of(stage)] == [
        (100, Outcome.LOST, Reason.TEMPLATE),
        (101, Outcome.LOST, Reason.TEMPLATE),
    ]


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


def test_a_job_announced_while_its_mates_are_handed_back_is_kept(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=3, budget=1.0))
    (slot,) = stage.busy
    slot.announce(0, stage.wall.now)
    stage.step(0.06)
    slot.announce(1, stage.wall.now)
    stage.step(2.0)

    assert stage.handed_back() == [[1, [[102, 102]], "overrun", False]]


def test_jobs_are_told_running_after_50_ms_once(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    slot.announce(0, stage.wall.now)
    for _ in range(8):
        stage.step(0.06)
    running = [entry for report in stage.broker.reports for entry in report.running]

    assert [(job, attempt) for job, attempt, *_ in running] == [(100, 1)]


def test_short_jobs_are_not_told_running(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=20))
    (slot,) = stage.busy
    for index in range(20):
        slot.announce(index, stage.wall.now)
        stage.step(0.04)

    assert not any(report.running for report in stage.broker.reports)


def test_rows_are_told_at_the_end_of_a_chunk_else_every_tenth_of_a_second(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    stage.step(0.2)
    before = len(stage.broker.reports)
    slot.announce(0, stage.wall.now)
    slot.record(0)
    stage.step(0.02)
    assert len(stage.broker.reports) == before
    stage.step(0.1)
    assert len(stage.broker.reports) == before + 1
    slot.announce(1, stage.wall.now)
    slot.record(1)
    slot.end(2)
    stage.step()

    assert len(stage.broker.reports) == before + 2
    assert stage.broker.finished == [(1, 2)]


def test_what_could_not_be_told_is_told_when_the_broker_is_back(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    stage.broker.down = True
    slot.run_all()
    stage.step(0.2)
    assert stage.broker.closed == 1
    assert stage.broker.finished == []
    stage.broker.down = False
    stage.step(1.0)
    spans = [(report.start, report.end) for report in stage.broker.reports]

    assert stage.broker.finished == [(1, 2)]
    assert spans[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert [said["kind"] for said in stage.broker.said] == ["hello", "hello"]


def test_the_broker_is_tried_again_after_pauses_that_grow(stage: Stage) -> None:
    tries: list[float] = []

    def refuse() -> Any:
        tries.append(stage.clock.now)
        return stage.broker.open()

    stage.pilot.link._opener = refuse
    stage.broker.down = True
    for _ in range(2000):
        stage.step(0.01)
    pauses = [round(b - a, 1) for a, b in itertools.pairwise(tries)]

    assert pauses[:5] == [0.4, 0.8, 1.6, 3.2, 5.0]


def test_asked_to_announce_itself_it_says_what_it_holds_now(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.pilot.obey({"kind": "announce"}, stage.clock.now)

    assert [said["held"] for said in stage.broker.said] == [[], [1]]


def test_a_new_generation_is_told_what_is_held(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.broker.generation = 2
    stage.broker.agents.clear()
    stage.broker.leases.clear()
    stage.step(5.1)

    assert stage.broker.said[-1] == {
        "kind": "hello",
        "agent": "a1",
        "generation": 2,
        "held": [1],
    }
    assert stage.broker.leases == {1: "a1"}
    assert "a1" in stage.broker.agents


def test_it_beats_every_five_seconds_with_its_state(stage: Stage) -> None:
    stage.feed(chunk_of(1))
    for _ in range(12):
        stage.step(1.0)

    assert stage.broker.beats == [
        (AgentState.IDLE, 0, 0),
        (AgentState.BUSY, 1, 1),
        (AgentState.BUSY, 1, 1),
    ]


def test_idle_time_counts_only_while_a_coordinator_lives(staged: Callable[..., Stage]) -> None:
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


def test_work_ends_idle_time(staged: Callable[..., Stage]) -> None:
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


def test_the_allocations_end_is_a_reason_to_leave(staged: Callable[..., Stage]) -> None:
    stage = staged(deadline=1000.0 + 100.0, grace=10.0)
    stage.feed(chunk_of(1))
    stage.step(79.0)
    assert not stage.pilot.holdings.draining
    stage.step(2.0)

    assert stage.pilot.holdings.draining


def test_jobs_that_would_not_end_in_time_are_not_claimed(staged: Callable[..., Stage]) -> None:
    stage = staged(deadline=1000.0 + 100.0)
    stage.feed(chunk_of(1, resources=ResourceClass(walltime=80.0)))
    stage.feed(chunk_of(2, resources=ResourceClass(walltime=60.0)))

    assert set(stage.broker.leases) == {2}


def test_a_chunk_is_finished_only_when_its_end_is_written(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    results = stage.ledger._results
    full = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115 - a disk without space
    room, results._fd = results._fd, full.fileno()
    slot.run_all()
    stage.step()
    assert stage.broker.finished == []
    results._fd = room
    stage.step(1.0)
    full.close()

    assert stage.broker.finished == [(1, 2)]
    ended = [f.payload for f in stage.frames() if f.kind == Kind.CHUNK_ENDED]
    assert [ENDED.unpack(payload)[::2] for payload in ended] == [(1, 2)]
