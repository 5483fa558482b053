"""What agents show: that they can work ends a row of failures, to register and crash does not."""

from __future__ import annotations

import pytest

from batchpilot.coordinator.allocator import GATHER
from batchpilot.coordinator.merits import YOUNG
from batchpilot.coordinator.welcomer import Welcomer
from batchpilot.pools import Slurm

from .batch_site import Site, allocator_of


def test_agents_that_register_and_crash_one_after_another_pause_their_pool(site: Site) -> None:
    site.bench.desk.pools = [Slurm(slots=2, max_agents=1)]
    site.work()
    for turn in range(5):
        site.tick(GATHER)
        if site.pilots():
            site.die(site.arrive(1, again=str(turn)))

    (failure,) = site.failures()
    assert (failure.failures, failure.paused) == (3, True)
    assert len(site.launcher.requests) == 3


def test_an_agent_that_crashed_at_once_has_not_worked_though_that_is_noticed_late(
    site: Site,
) -> None:
    site.work()
    agent = site.arrive(1)
    site.bench.clock += 2 * YOUNG

    site.die(agent)

    assert [failure.failures for failure in site.failures()] == [1]


@pytest.mark.parametrize("by_a_chunk", [True, False])
def test_an_agent_that_did_a_chunk_or_lived_for_a_minute_has_worked(
    site: Site, *, by_a_chunk: bool
) -> None:
    site.work()
    agent = site.arrive(1)
    if by_a_chunk:
        site.do_a_chunk(agent)
    else:
        site.live(agent, int(YOUNG) + 1)

    site.die(agent)

    assert site.failures() == []


def test_a_minute_ends_a_row_of_failures_only_for_an_agent_that_runs_something(site: Site) -> None:
    site.work()
    site.die(site.arrive(1))
    idle, busy = site.arrive(2), site.arrive(3)
    site.live(idle, int(YOUNG) + 1)
    assert len(site.failures()) == 1

    site.begin_a_chunk(busy)
    site.live(busy, int(YOUNG) + 1)
    assert site.failures() == []


def test_an_agent_that_has_worked_for_long_ends_no_row_again(site: Site) -> None:
    site.work()
    site.do_a_chunk(site.arrive(1))

    site.die(site.arrive(2))
    site.tick()

    assert len(site.failures()) == 1


def test_nothing_is_held_against_an_agent_of_an_earlier_coordinator(site: Site) -> None:
    site.work()
    agent = site.arrive(1)
    site.bench.judge = site.bench.new_judge()
    site.bench.judge.start()
    site.allocator = allocator_of(site.bench, site.launcher)
    site.tick()

    site.die(agent)

    assert site.stages() == ["queued"] * 3
    assert site.failures() == []


@pytest.mark.parametrize("bye", ["idle", "drain", "orphaned", "walltime"])
def test_one_that_left_in_order_is_no_failure(site: Site, bye: str) -> None:
    site.work()
    agent = site.arrive(1, deadline=site.now + 3600)

    site.leave(agent, bye)

    assert site.failures() == []


def test_one_that_came_upon_a_limit_is_a_failure_with_its_words(site: Site) -> None:
    site.work()
    agent = site.arrive(1)
    site.say(site.pilots()[0], "no file or process to be had")

    site.leave(agent, "limit")

    (failure,) = site.failures()
    assert failure.words.splitlines() == [
        "no file or process to be had",
        "its node gives it too few files or processes: see `ulimit -n` and `ulimit -u`",
    ]
    assert failure.where == f"allocations/{site.launcher.requests[0].id}/1.out"


def test_one_whose_allocation_was_about_to_end_when_it_came_is_a_failure(site: Site) -> None:
    site.bench.desk.pools = [Slurm(slots=2, grace=60)]
    site.work()

    site.leave(site.arrive(1, deadline=site.now + 40), "walltime")

    (failure,) = site.failures()
    assert failure.last_word.startswith("its allocation was to end within 70 s when it came")


def test_one_that_came_too_late_and_left_before_it_was_seen_is_a_failure(site: Site) -> None:
    site.work()
    request = site.launcher.requests[0]

    site.leave(f"slurm-{request.id}-2-70ac", "walltime")

    (failure,) = site.failures()
    assert failure.last_word.startswith("its allocation was to end within 20 s when it came")
    assert site.stages() == ["queued"] * 3


def test_one_that_worked_and_left_before_it_was_seen_is_no_failure(site: Site) -> None:
    site.work()
    agent = f"slurm-{site.launcher.requests[0].id}-2-70ac"
    site.do_a_chunk(agent)

    site.leave(agent, "walltime")

    assert site.failures() == []


def test_one_that_came_and_left_while_no_coordinator_was_there_is_no_failure(site: Site) -> None:
    site.work()
    site.allocator = allocator_of(site.bench, site.launcher)

    site.leave(f"slurm-{site.launcher.requests[0].id}-2-70ac", "walltime")

    assert site.failures() == []
    assert site.stages() == ["queued"] * 3


def test_one_that_comes_back_may_show_that_it_can_work(site: Site) -> None:
    site.work()
    site.die(site.arrive(1))
    agent = site.arrive(2)
    site.bench.judge.end(agent, "lost", site.now)
    site.arrive(2)

    site.do_a_chunk(agent)

    assert site.failures() == []


def test_one_that_sees_another_directory_is_a_failure_with_both_paths(site: Site) -> None:
    site.work()
    agent = site.arrive(1)
    moment = [0.0]
    welcomer = Welcomer(site.bench.desk, lambda: moment[0], patience=5.0)
    welcomer.tick()
    moment[0] = 6.0
    welcomer.tick()

    site.leave(agent, "refused")

    (failure,) = site.failures()
    assert f"does not appear in {site.bench.desk.paths.root}" in failure.last_word


@pytest.mark.parametrize(("waits", "told"), [(True, [1]), (False, [])])
def test_one_that_was_idle_while_jobs_waited_for_it_is_told(
    site: Site, *, waits: bool, told: list[int]
) -> None:
    site.work()
    agent = site.arrive(1)
    if waits:
        site.bench.book.feed([1])

    site.leave(agent, "idle")

    assert [failure.failures for failure in site.failures()] == told
    assert all("was idle and began none" in f.last_word for f in site.failures())
    assert not any(failure.paused for failure in site.failures())
