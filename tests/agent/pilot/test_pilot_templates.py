"""The pilot makes templates and slots, and what it does when one fails; all played by the test."""

from __future__ import annotations

from batchpilot_broker.nouns import Isolation, Outcome, Reason, ResourceClass

from .memorybroker import chunk_of
from .stage import Stage


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


def test_a_slot_that_never_begins_is_tried_three_times(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    for _ in range(3):
        stage.templates[0].ended(stage.busy[0], 9)
        stage.step()
    (row,) = stage.rows()

    assert (row[0], row[2], row[3]) == (100, Outcome.LOST, Reason.SIGNAL)
    assert stage.busy[0].jobs == [101]


def test_a_failed_template_fails_the_next_chunk_of_its_epoch_too(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.templates[0].tell("failed", "ImportError", "no", "Traceback …")
    stage.step()
    stage.feed(chunk_of(2))

    assert [row[0] for row in stage.rows()] == [100, 101, 200]
    assert {row[2] for row in stage.rows()} == {Outcome.ERROR}
    assert stage.broker.finished == [(1, 2), (2, 1)]
    assert len(stage.templates) == 1


def test_a_template_that_dies_before_it_is_ready_charges_its_jobs(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.templates[0].die()
    stage.step()

    assert [row[0:1] + row[2:4] for row in stage.rows()] == [
        (100, Outcome.LOST, Reason.TEMPLATE),
        (101, Outcome.LOST, Reason.TEMPLATE),
    ]
