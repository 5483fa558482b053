"""The pilot claims chunks and hands them to slots; broker, clock and slots are the test's."""

from __future__ import annotations

from batchpilot_agent.serving import Room
from batchpilot_broker.nouns import ResourceClass

from .conftest import MakeStage
from .memorybroker import chunk_of
from .stage import Stage


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


def test_what_a_broker_has_forgotten_to_be_claimed_runs_no_second_time(stage: Stage) -> None:
    stage.feed(chunk_of(1), chunk_of(2))
    first, second = stage.busy
    first.run_all()
    stage.step()
    stage.feed(chunk_of(1), chunk_of(2), chunk_of(3))

    assert [slot.jobs for slot in stage.busy] == [[200], [300]]
    assert stage.broker.finished == [(1, 1), (1, 0)]
    assert stage.broker.leases == {2: "a1", 3: "a1"}
    second.run_all()
    stage.step()
    assert stage.broker.finished[2:] == [(2, 1)]


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


def test_cores_are_shared_out(staged: MakeStage) -> None:
    stage = staged(slots=4, cores=4)
    three, one = ResourceClass(ncpus=3), ResourceClass()
    stage.feed(chunk_of(1, resources=three), chunk_of(2, resources=three))
    stage.feed(*(chunk_of(n, resources=one) for n in (3, 4)))

    assert sorted(slot.jobs for slot in stage.busy) == [[100], [300]]


def test_jobs_that_would_not_end_in_time_are_not_claimed(staged: MakeStage) -> None:
    stage = staged(deadline=1000.0 + 100.0)
    stage.feed(chunk_of(1, resources=ResourceClass(walltime=80.0)))
    stage.feed(chunk_of(2, resources=ResourceClass(walltime=60.0)))

    assert set(stage.broker.leases) == {2}


def test_jobs_that_need_different_things_run_at_once_as_long_as_all_of_it_is_there(
    staged: MakeStage,
) -> None:
    stage = staged(slots=8, cores=8, memory=1000.0, devices=("0", "1"), device_variables=("CUDA",))
    wide = ResourceClass(ncpus=4, memory=100.0)
    large = ResourceClass(memory=600.0)
    on_gpu = ResourceClass(gpus=1, memory=100.0)
    small = ResourceClass()
    needs = [wide, large, on_gpu, wide, large, on_gpu, on_gpu, small]
    stage.feed(*(chunk_of(n, resources=need) for n, need in enumerate(needs, 1)))

    def running() -> list[int]:
        return sorted(slot.jobs[0] // 100 for slot in stage.busy)

    assert running() == [1, 2, 3, 6, 8]
    assert stage.pilot.holdings.room == Room(slots=3, cores=0, memory=100.0, gpus=0)
    assert [slot.order[-1]["CUDA"] for slot in stage.busy if slot.jobs[0] in {300, 600}] == [
        "0",
        "1",
    ]
    next(slot for slot in stage.busy if slot.jobs == [600]).run_all()
    stage.step()

    assert running() == [1, 2, 3, 7, 8]
    assert [slot.order[-1]["CUDA"] for slot in stage.busy if slot.jobs == [700]] == ["1"]


def test_jobs_that_would_run_into_the_grace_are_not_claimed(staged: MakeStage) -> None:
    stage = staged(deadline=1000.0 + 200.0, grace=100.0)
    stage.feed(chunk_of(1, resources=ResourceClass(walltime=91.0)))
    stage.feed(chunk_of(2, resources=ResourceClass(walltime=90.0)))

    assert set(stage.broker.leases) == {2}
