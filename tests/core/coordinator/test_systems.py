"""Calls of batch systems: none drowns another, none ends the coordinator, none is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.conftest import Until

from batchpilot.coordinator.allocator import CANCEL_AGAIN, GATHER, LOOK_EVERY
from batchpilot.coordinator.errands import ThreadedErrand
from batchpilot.store.allocations import (
    Pilot,
    Stage,
    add_pilots,
    settle_allocation,
    update_pilots,
)
from batchpilot.store.dismissals import dismiss
from batchpilot_agent.launchers.keeping import keep_submitted, make_place
from batchpilot_agent.launchers.nouns import (
    AllocationRequest,
    ElementState,
    ElementStatus,
    Submitted,
)
from batchpilot_broker.nouns import ResourceClass

from .batch_site import MemoryLauncher, Site, allocator_of


RUNNING = ElementStatus(state=ElementState.RUNNING)


class SlowLauncher(MemoryLauncher):
    """A batch system that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def submit(self, request: AllocationRequest) -> Submitted:
        """Take a request, and one's time."""
        self.asked.set()
        self.may_answer.wait(60)
        return super().submit(request)


@pytest.fixture
def slow(site: Site) -> Iterator[SlowLauncher]:
    """Give the batch system of the site, which is slow now."""
    launcher = site.launcher = SlowLauncher()
    site.allocator = allocator_of(site.bench, launcher, ThreadedErrand)
    yield launcher
    launcher.may_answer.set()


def ticks(site: Site, condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that is looked at after a tick each."""

    def look() -> bool:
        site.tick()
        return condition()

    return look


def test_one_that_runs_and_does_not_go_is_cancelled_once_a_minute_and_looked_at(
    site: Site,
) -> None:
    site.work()
    site.launcher.status["1_2"] = RUNNING
    site.tick(LOOK_EVERY)
    with site.bench.desk.db.write() as tx:
        dismiss(tx, ["1_2"])
    before = len(site.launcher.queries)

    for _ in range(300):
        site.tick(1.0)

    assert len(site.launcher.cancelled) == 300 // CANCEL_AGAIN
    assert len(site.launcher.queries) - before == 300 // LOOK_EVERY


def test_queries_that_take_longer_than_a_minute_leave_room_for_requests(site: Site) -> None:
    class Lasting:
        def __init__(self, job: Callable[[], Any]) -> None:
            self._job, self._end = job, site.now + LOOK_EVERY + 1

        @property
        def done(self) -> bool:
            return site.now >= self._end

        def wait(self, seconds: float) -> None:
            raise NotImplementedError

        def result(self) -> Any:
            return self._job()

    site.allocator = allocator_of(site.bench, site.launcher, Lasting)
    site.work()
    while len(site.launcher.queries) < 3:
        site.tick(1.0)
    site.bench.book.define(8)
    site.bench.book.queue(range(9, 17), ResourceClass())

    for _ in range(4 * int(LOOK_EVERY)):
        site.tick(1.0)

    assert [request.agents for request in site.launcher.requests] == [4, 4]


def test_an_error_that_nobody_has_thought_of_is_a_trouble_of_the_pool(site: Site) -> None:
    site.launcher.trouble = PermissionError(13, "Permission denied", "/scratch/x")
    site.work()

    (failure,) = site.failures()
    assert failure.words == "PermissionError: [Errno 13] Permission denied: '/scratch/x'"
    assert not failure.paused


def test_what_was_submitted_before_an_error_is_known(site: Site) -> None:
    class Breaking(MemoryLauncher):
        def submit(self, request: AllocationRequest) -> Submitted:
            place = make_place(site.bench.desk.paths.allocation(request.id))
            keep_submitted(place, Submitted(ids=("7",), elements=("7_1", "7_2")))
            raise AttributeError("words")

    site.allocator = allocator_of(site.bench, Breaking())
    site.work()

    assert [(p.id, str(p.stage)) for p in site.pilots()] == [("7_1", "queued"), ("7_2", "queued")]
    assert [failure.words for failure in site.failures()] == ["AttributeError: words"]


def test_a_coordinator_that_leaves_waits_for_what_it_has_asked_for(
    site: Site, slow: SlowLauncher
) -> None:
    site.work()
    assert slow.asked.wait(60)
    assert site.stages() == ["submitting"] * 4

    answer = threading.Timer(0.1, slow.may_answer.set)
    answer.start()
    site.allocator.finish(60.0, site.now)
    answer.join()

    assert [pilot.id for pilot in site.pilots()] == ["1_1", "1_2", "1_3", "1_4"]


def test_an_answer_to_what_has_said_good_bye_meanwhile_is_too_late(
    site: Site, slow: SlowLauncher, until: Until
) -> None:
    slow.may_answer.set()
    site.work()
    until(ticks(site, lambda: site.stages() == ["queued"] * 4))
    agent = site.arrive(1)
    site.bench.clock += 20
    site.bench.look()
    site.launcher.status["1_1"] = RUNNING
    site.allocator.tick(site.now + LOOK_EVERY)

    site.bench.broker.leave(agent)
    site.bench.judge.end(agent, "left", site.now, bye="drain")
    until(ticks(site, lambda: len(site.launcher.queries) == 1))
    site.tick()

    assert site.stages() == ["queued"] * 3


def test_what_a_session_has_asked_for_is_settled_though_it_died(site: Site) -> None:
    site.work(2)
    (mine,) = site.pilots()
    theirs = Pilot(
        allocation="theirs",
        number=1,
        pool=mine.pool,
        kind=mine.kind,
        variables=mine.variables,
        submitted=site.now,
    )
    with site.bench.desk.db.write() as tx:
        add_pilots(tx, [theirs])
    site.bench.book.define(2)
    site.bench.book.queue([3, 4])
    keep_submitted(
        make_place(site.bench.desk.paths.allocation("theirs")),
        Submitted(ids=("9",), elements=("9_1",)),
    )
    site.tick(GATHER)
    assert [p.stage for p in site.pilots()] == [Stage.QUEUED, Stage.SUBMITTING]

    site.tick(700.0)

    assert [p.id for p in site.pilots()] == [mine.id, "9_1"]


def test_an_agent_that_comes_before_a_session_names_it_keeps_name_and_agent(site: Site) -> None:
    site.work(2)
    (pilot,) = site.pilots()
    with site.bench.desk.db.write() as tx:
        update_pilots(tx, [replace(pilot, id="", stage=Stage.SUBMITTING)])
    site.allocator._roster._pilots = {}
    agent = site.arrive(1)

    with site.bench.desk.db.write() as tx:
        settle_allocation(tx, pilot.allocation, ("5",), ("5_1",), "")
    site.tick()

    (pilot,) = site.pilots()
    assert (pilot.id, pilot.agent, pilot.stage) == ("5_1", agent, Stage.RUNNING)
