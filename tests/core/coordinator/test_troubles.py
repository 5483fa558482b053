"""Pools whose agents do not come: growing pauses, then a pause until the user resumes."""

from __future__ import annotations

import time

import pytest

from batchpilot.coordinator.allocator import CANCEL_AGAIN, GATHER, LOOK_EVERY
from batchpilot.coordinator.troubles import PAUSES
from batchpilot.store.dismissals import dismiss
from batchpilot.store.launches import failing, resume_pools
from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.keeping import make_place
from batchpilot_agent.launchers.nouns import (
    ElementState,
    ElementStatus,
)

from .batch_site import DEAD, GONE, Site, allocator_of


def assert_more_agents_come(site: Site) -> None:
    """Queue more than the agents that were launched can do, and see others launched."""
    site.bench.book.define(100)
    site.bench.book.queue(range(9, 109))
    site.tick()
    site.tick(GATHER)
    assert len(site.launcher.requests) == 2


def test_what_is_refused_for_now_is_tried_again_after_growing_pauses(site: Site) -> None:
    site.launcher.trouble = LaunchPostponed("Socket timed out")
    site.work()
    asked = []
    for pause in PAUSES[:3]:
        asked.append(len(site.launcher.requests))
        site.tick(pause - 0.5)
        site.tick(0.5)

    assert asked == [1, 2, 3]
    (failure,) = site.failures()
    assert (failure.words, failure.failures, failure.paused) == ("Socket timed out", 4, False)
    assert site.pilots() == []

    site.launcher.trouble = None
    site.tick(PAUSES[3])
    site.do_a_chunk(site.arrive(1))
    assert site.failures() == []


def test_what_is_refused_for_good_pauses_the_pool_until_it_is_resumed(site: Site) -> None:
    site.launcher.trouble = LaunchRefused("Invalid partition name specified")
    site.work()
    site.launcher.trouble = None
    for _ in range(5):
        site.tick(1000.0)

    assert len(site.launcher.requests) == 1
    (failure,) = site.failures()
    assert failure.paused
    assert failure.words == "Invalid partition name specified"

    with site.bench.desk.db.write() as tx:
        resume_pools(tx)
    site.tick()
    site.tick(GATHER)
    assert len(site.launcher.requests) == 2


def test_three_agents_that_end_without_having_worked_pause_the_pool(site: Site) -> None:
    site.work(16)
    for number, element in enumerate(list(site.launcher.status)[:3], 1):
        output = site.bench.desk.paths.element_output(site.launcher.requests[0].id, number)
        make_place(output.parent)
        output.write_text("\n".join(f"line {n}" for n in range(30)))
        site.launcher.status[element] = DEAD

    site.tick(LOOK_EVERY)

    (failure,) = site.failures()
    assert failure.paused
    assert failure.words.splitlines() == [f"line {n}" for n in range(10, 30)]
    site.tick(GATHER)
    site.tick(1000.0)
    assert len(site.launcher.requests) == 1


def test_three_in_a_row_pause_the_pool_also_where_a_coordinator_died_in_between(site: Site) -> None:
    site.work(16)
    for element in list(site.launcher.status)[:3]:
        assert not any(failure.paused for failure in site.failures())
        site.allocator = allocator_of(site.bench, site.launcher)
        site.tick()
        site.tick(LOOK_EVERY)
        site.launcher.status[element] = DEAD
        site.tick(LOOK_EVERY)

    (failure,) = site.failures()
    assert (failure.failures, failure.paused) == (3, True)


def test_what_has_ended_before_a_coordinator_watched_is_no_failure(site: Site) -> None:
    site.work(16)
    for pilot, status in zip(site.pilots(), [DEAD, DEAD, DEAD, GONE, GONE, GONE], strict=False):
        site.launcher.status[pilot.id] = status
        site.say(pilot, "gone: orphaned")

    site.allocator = allocator_of(site.bench, site.launcher)
    site.tick()
    site.tick(LOOK_EVERY)
    site.tick(LOOK_EVERY)

    assert site.stages() == ["queued"] * 2 + ["queued"] * 6
    assert site.failures() == []


def test_a_new_coordinator_keeps_the_pause_of_a_pool_and_a_user_ends_it(site: Site) -> None:
    site.launcher.trouble = LaunchPostponed("Socket timed out")
    site.work()
    site.tick(PAUSES[0])
    site.launcher.trouble = None

    site.allocator = allocator_of(site.bench, site.launcher)
    site.tick()
    site.tick(PAUSES[1] - 1.0)
    assert len(site.launcher.requests) == 2

    with site.bench.desk.db.write() as tx:
        resume_pools(tx)
    site.tick()
    assert len(site.launcher.requests) == 3
    assert [failure.failures for failure in site.failures()] == [2]


def test_requests_that_were_refused_for_now_are_no_agents_that_died(site: Site) -> None:
    site.launcher.trouble = LaunchPostponed("Socket timed out")
    site.work(16)
    site.tick(PAUSES[0])
    site.launcher.trouble = None
    site.tick(PAUSES[1])
    first, second, *_ = site.launcher.status

    for element in (first, second):
        site.launcher.status[element] = DEAD
    site.tick(LOOK_EVERY)

    assert [(f.failures, f.refusals, f.paused) for f in site.failures()] == [(4, 2, False)]


def test_an_agent_at_work_in_between_makes_failures_single_ones(site: Site) -> None:
    site.work(16)
    elements = list(site.launcher.status)
    for turn in range(3):
        site.launcher.status[elements[turn]] = DEAD
        site.tick(LOOK_EVERY)
        assert len(site.failures()) == 1
        site.do_a_chunk(site.arrive(turn + 4))
        assert site.failures() == []


def test_an_agent_that_is_refused_is_a_failure(site: Site) -> None:
    site.work()
    agent = site.arrive(1, python="2.7")

    site.bench.judge.end(agent, "left", site.now)
    site.tick()

    assert [failure.failures for failure in site.failures()] == [1]


def test_one_that_was_asked_for_a_moment_before_the_coordinator_came_is_watched(
    site: Site,
) -> None:
    site.now = time.time()
    site.work(2)

    site.allocator = allocator_of(site.bench, site.launcher)
    site.launcher.status["1_1"] = DEAD
    site.tick()
    site.tick(LOOK_EVERY)

    assert [failure.failures for failure in site.failures()] == [1]


def test_what_vanishes_from_the_queue_is_a_failure_only_if_it_has_begun(site: Site) -> None:
    site.work(16)
    waited, wrote, ran = site.pilots()[:3]
    site.say(wrote, "no module named batchpilot")
    site.launcher.status[ran.id] = ElementStatus(state=ElementState.RUNNING)
    site.tick(LOOK_EVERY)

    del site.launcher.status[waited.id]
    site.tick(LOOK_EVERY)
    site.tick(LOOK_EVERY)
    assert len(site.stages()) == 7
    assert site.failures() == []

    for pilot in (wrote, ran):
        del site.launcher.status[pilot.id]
    site.tick(LOOK_EVERY)
    site.tick(LOOK_EVERY)
    (failure,) = site.failures()
    assert failure.failures == 2


def test_a_pause_that_another_clock_has_begun_is_over(site: Site) -> None:
    site.launcher.trouble = LaunchPostponed("Socket timed out")
    site.work()
    site.now -= 3600.0
    site.allocator = allocator_of(site.bench, site.launcher)
    site.tick()
    site.tick(GATHER)

    assert len(site.launcher.requests) == 2


def test_a_query_that_fails_again_and_again_is_told_and_pauses_nothing(site: Site) -> None:
    site.work()
    site.launcher.trouble = LaunchPostponed("slurm_load_jobs error: Unable to contact")
    site.tick(LOOK_EVERY)
    site.tick(LOOK_EVERY)
    assert site.failures() == []

    site.tick(LOOK_EVERY)
    (failure,) = site.failures()
    assert failing(failure, site.now) == (
        "how agents of pool slurm are was asked, and not answered 3 times in a row, last 0.0 s ago:"
        " slurm_load_jobs error: Unable to contact"
    )

    site.launcher.trouble = None
    assert_more_agents_come(site)
    site.tick(LOOK_EVERY)
    assert site.failures() == []


def test_a_cancel_that_is_refused_keeps_no_agents_from_coming(site: Site) -> None:
    site.work()
    with site.bench.desk.db.write() as tx:
        dismiss(tx, ["1_2"])
    site.launcher.trouble = LaunchPostponed("slurm_kill_job2: Socket timed out")
    site.tick()
    site.tick(CANCEL_AGAIN)
    (failure,) = site.failures()
    assert (failure.what, failure.failures, failure.until) == ("cancel", 2, 0.0)
    site.launcher.trouble = None

    assert_more_agents_come(site)
    site.tick(CANCEL_AGAIN)
    assert site.launcher.cancelled == ["1_2"]
    assert site.failures() == []


@pytest.mark.parametrize("word", ["TIMEOUT", "CANCELLED", "PREEMPTED"])
def test_walltime_cancel_and_preemption_are_no_failures(site: Site, word: str) -> None:
    site.work()
    ended = ElementStatus(state=ElementState.ENDED, reason=word)
    site.launcher.status = dict.fromkeys(site.launcher.status, ended)

    site.tick(LOOK_EVERY)

    assert site.failures() == []
    site.tick()
    site.tick(GATHER)
    assert len(site.launcher.requests) == 2
