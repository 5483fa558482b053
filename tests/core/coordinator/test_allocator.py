"""Agents at batch systems: asked for once and in large arrays, looked after, and never in vain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from batchpilot.coordinator.allocator import COOL_DOWN, GATHER, LOOK_EVERY, Allocator
from batchpilot.coordinator.happenings import AgentEnded, SchedulerCalled
from batchpilot.coordinator.troubles import PAUSES
from batchpilot.pools import Local, Slurm
from batchpilot.store.allocations import Pilot, Stage, pilots_alive
from batchpilot.store.dismissals import dismiss
from batchpilot.store.launches import LaunchFailure, launch_failures, resume_pools
from batchpilot_agent.errors import LaunchError, LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.keeping import keep_submitted, make_place
from batchpilot_agent.launchers.nouns import (
    AllocationRequest,
    ElementState,
    ElementStatus,
    Parameters,
    Submitted,
)
from batchpilot_broker.nouns import AgentInfo, ResourceClass

from .conftest import Bench


PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
GONE = ElementStatus(state=ElementState.UNKNOWN, known=False)
DEAD = ElementStatus(state=ElementState.ENDED, reason="FAILED", failed=True)


@dataclass
class MemoryLauncher:
    """A batch system in memory.

    Attributes:
        requests: What was asked for.
        status: What it says of its elements.
        cancelled: What was cancelled.
        queries: What it was asked about.
        trouble: Raised at every call.
        shortfall: Why requests come to fewer agents, "" where they do not.
    """

    parameters: Parameters = field(default_factory=lambda: Parameters(max_array=1000))
    requests: list[AllocationRequest] = field(default_factory=list)
    status: dict[str, ElementStatus] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    queries: list[Sequence[str]] = field(default_factory=list)
    trouble: LaunchError | None = None
    shortfall: str = ""

    def submit(self, request: AllocationRequest) -> Submitted:
        """Take a request."""
        self.requests.append(request)
        self._answer()
        array = str(len(self.requests))
        elements = tuple(f"{array}_{n}" for n in range(1, request.agents + 1))
        queued = ElementStatus(state=ElementState.QUEUED, reason="Priority")
        self.status |= dict.fromkeys(elements, queued)
        return Submitted(ids=(array,), elements=elements, shortfall=self.shortfall)

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Tell what is known."""
        self.queries.append(list(ids))
        self._answer()
        return {id_: self.status.get(id_, GONE) for id_ in ids}

    def cancel(self, ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        """End elements."""
        self._answer()
        self.cancelled += ids if elements is None else elements

    def _answer(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Done:
    """An errand that is done at once."""

    done = True

    def __init__(self, job: Callable[[], Any]) -> None:
        self._job = job

    def result(self) -> Any:
        """Do it."""
        return self._job()


class Never(Done):
    """An errand that never comes to an end."""

    done = False


@dataclass
class Site:
    """A desk with one pool of a batch system."""

    bench: Bench
    launcher: MemoryLauncher
    allocator: Allocator
    now: float = 1000.0

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass and some rounds go by: an errand is taken in at the next one."""
        self.now += seconds
        for _ in range(4):
            self.allocator.tick(self.now)

    def work(self, jobs: int = 8, needed: ResourceClass | None = None) -> None:
        """Have jobs queued, and agents submitted for them."""
        self.bench.book.define(jobs)
        self.bench.book.queue(range(1, jobs + 1), needed or ResourceClass())
        self.tick()
        self.tick(GATHER)

    def arrive(self, number: int, *, python: str = PYTHON, again: str = "") -> str:
        """Let the agent of an element of the first request that was taken register."""
        taken = {pilot.allocation for pilot in self.pilots()}
        request = next(request for request in self.launcher.requests if request.id in taken)
        name = f"agent{number}-{request.id}{again}"
        info = AgentInfo(
            id=name,
            pool="slurm",
            host="far-away",
            boot="b",
            pid=1,
            pid_start=1,
            slots=1,
            cores=1,
            python=python,
            started=self.now,
            allocation=f"{request.id}.{number}",
        )
        self.bench.broker.register(info)
        self.bench.look()
        self.tick()
        return name

    def pilots(self) -> list[Pilot]:
        """Return the agents asked for as the registry has them."""
        with self.bench.desk.db.read() as tx:
            return pilots_alive(tx)

    def failures(self) -> list[LaunchFailure]:
        """Return what the registry keeps of failures."""
        with self.bench.desk.db.read() as tx:
            return launch_failures(tx, self.now)

    def stages(self) -> list[str]:
        """Return the stages of the agents asked for."""
        return [str(pilot.stage) for pilot in self.pilots()]


def allocator_of(bench: Bench, launcher: MemoryLauncher, errand: Any = Done) -> Allocator:
    return Allocator(
        bench.desk, bench.judge, launcher=lambda _kind, _paths: launcher, errand=errand
    )


@pytest.fixture
def site(bench: Bench) -> Site:
    bench.desk.pools = [Slurm(slots=2, max_agents=10)]
    launcher = MemoryLauncher()
    return Site(bench, launcher, allocator_of(bench, launcher))


def test_nothing_is_asked_without_work(site: Site) -> None:
    site.tick()
    site.tick(LOOK_EVERY)

    assert site.launcher.requests == []
    assert site.launcher.queries == []


def test_demand_is_gathered_and_then_asked_for_as_one_array(site: Site) -> None:
    book = site.bench.book
    book.define(8)
    book.queue([1, 2])
    site.tick()
    book.queue(range(3, 9))
    site.tick(GATHER / 2)
    assert site.launcher.requests == []

    site.tick(GATHER / 2)

    assert [request.agents for request in site.launcher.requests] == [4]
    assert site.stages() == ["queued"] * 4
    site.tick(GATHER)
    site.tick(GATHER)
    assert len(site.launcher.requests) == 1


def test_an_agent_is_started_with_its_allocation_and_no_secret(site: Site) -> None:
    site.bench.desk.pools = [
        Slurm(
            slots=2,
            resources={"walltime": 600, "partition": "p"},
            python="/py",
            env={"A": "b"},
            grace=90,
        )
    ]
    site.work()

    (request,) = site.launcher.requests
    words = " ".join(request.command)

    assert request.command[0] == "/py"
    assert "--log-format text" in words
    assert f"--allocation {request.id}" in words
    assert "--walltime 600.0" in words
    assert "--grace 90" in words
    assert '--variables {"partition": "p"}' in words
    assert request.variables == {"partition": "p"}
    assert request.env["A"] == "b"
    assert "password" not in repr(request)


def test_jobs_that_ask_for_a_partition_get_agents_there(site: Site) -> None:
    site.work(4, ResourceClass(template=(("partition", "long"),)))

    assert [(r.agents, r.variables) for r in site.launcher.requests] == [(2, {"partition": "long"})]


def test_an_agent_that_registers_runs_without_a_query(site: Site) -> None:
    site.work()

    agent = site.arrive(2)

    assert site.stages() == ["queued", "running", "queued", "queued"]
    assert site.pilots()[1].agent == agent
    assert site.launcher.queries == []


def test_an_agent_that_left_is_no_supply_any_more_and_no_failure(site: Site) -> None:
    site.work()
    agent = site.arrive(1)

    site.bench.judge.end(agent, "left", site.now)
    site.tick()

    assert site.stages() == ["queued"] * 3
    assert site.failures() == []


def test_the_batch_system_is_asked_once_a_minute_about_those_that_are_silent(site: Site) -> None:
    site.work()
    site.arrive(1)
    site.bench.desk.survey = site.bench.desk.broker.survey()

    for _ in range(130):
        site.bench.broker.beat(f"agent1-{site.launcher.requests[0].id}")
        site.bench.clock += 1
        site.bench.look()
        site.tick(1.0)

    assert len(site.launcher.queries) == 2
    assert {tuple(query) for query in site.launcher.queries} == {("1_2", "1_3", "1_4")}
    assert site.pilots()[1].reason == "Priority"


def test_agents_in_the_queue_survive_a_short_dip_and_not_a_long_one(site: Site) -> None:
    site.work()
    with site.bench.desk.db.write() as tx:
        tx.execute("forget_spans")

    site.tick()
    site.tick(COOL_DOWN / 2)
    assert site.launcher.cancelled == []
    site.tick(COOL_DOWN / 2)

    assert site.launcher.cancelled == ["1_1", "1_2", "1_3", "1_4"]
    assert site.stages() == []


def test_what_the_user_stops_is_cancelled_at_once_and_told_to_drain(site: Site) -> None:
    site.work()
    agent = site.arrive(1)
    with site.bench.desk.db.write() as tx:
        tx.set_meta("agents_stopped", 1)

    site.tick()
    site.tick()

    assert site.launcher.cancelled == ["1_2", "1_3", "1_4"]
    assert [message["kind"] for message in site.bench.broker.told[agent]] == ["drain"]


def test_one_in_the_queue_that_the_user_names_is_cancelled_and_another_asked_for(
    site: Site,
) -> None:
    site.work()
    with site.bench.desk.db.write() as tx:
        dismiss(tx, ["1_2"])

    site.tick()
    assert site.launcher.cancelled == ["1_2"]
    assert site.stages() == ["queued"] * 3

    site.tick(GATHER)
    site.tick()
    assert [request.agents for request in site.launcher.requests] == [4, 1]


def test_a_batch_system_that_refuses_to_cancel_is_not_pressed(site: Site) -> None:
    site.work()
    site.launcher.trouble = LaunchPostponed("slurm_kill_job2: Socket timed out")
    with site.bench.desk.db.write() as tx:
        dismiss(tx, ["1_2"])
    for _ in range(10):
        site.tick()

    assert len(site.bench.told(SchedulerCalled)) == 2

    site.launcher.trouble = None
    site.tick(PAUSES[0])
    assert site.launcher.cancelled == ["1_2"]


def test_each_call_of_the_batch_system_is_told_with_what_came_of_it(site: Site) -> None:
    site.work()
    site.launcher.trouble = LaunchPostponed("still trying")
    site.tick(LOOK_EVERY)
    site.launcher.trouble = None
    with site.bench.desk.db.write() as tx:
        tx.set_meta("agents_stopped", 1)
    site.tick()

    told = site.bench.told(SchedulerCalled)

    assert [(call.kind, call.command, call.ok) for call in told] == [
        ("slurm", "submit", True),
        ("slurm", "query", False),
        ("slurm", "cancel", True),
    ]
    assert all(call.seconds > 0 for call in told)


def test_a_request_that_was_cut_short_is_a_call_that_failed(site: Site) -> None:
    site.launcher.shortfall = "QOSMaxSubmitJobPerUserLimit"

    site.work()

    assert [call.ok for call in site.bench.told(SchedulerCalled)] == [False]


def test_the_agents_that_a_pool_should_have_are_reckoned(site: Site) -> None:
    site.work()
    assert site.allocator.wanted == {"slurm": 4}

    site.bench.book.define(100)
    site.bench.book.queue(range(9, 109))
    site.tick()
    assert site.allocator.wanted == {"slurm": 10}

    with site.bench.desk.db.write() as tx:
        tx.set_meta("agents_stopped", 1)
    site.tick()
    assert site.allocator.wanted == {"slurm": 0}

    site.bench.desk.pools = [Local()]
    site.tick()
    assert site.allocator.wanted == {}


def test_agents_of_a_pool_that_is_no_more_are_cancelled(site: Site) -> None:
    site.work()
    site.bench.desk.pools = [Slurm(name="other", max_agents=1)]

    site.tick()
    site.tick(GATHER)

    assert site.launcher.cancelled == ["1_1", "1_2", "1_3", "1_4"]


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
    site.arrive(1)
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
        site.launcher.status[element] = DEAD
        site.allocator = allocator_of(site.bench, site.launcher)
        site.tick()
        site.tick(LOOK_EVERY)

    (failure,) = site.failures()
    assert (failure.failures, failure.paused) == (3, True)


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


def test_an_element_that_is_started_again_after_its_end_is_known_again(site: Site) -> None:
    site.work()
    first = site.arrive(1)
    site.bench.judge.end(first, "left", site.now)
    site.tick()
    assert site.stages() == ["queued"] * 3

    again = site.arrive(1, again="b")

    assert again != first
    assert site.pilots()[0].agent == again
    assert site.stages() == ["running", *["queued"] * 3]


def test_an_agent_at_work_in_between_makes_failures_single_ones(site: Site) -> None:
    site.work(16)
    elements = list(site.launcher.status)
    for turn in range(3):
        site.launcher.status[elements[turn]] = DEAD
        site.tick(LOOK_EVERY)
        assert len(site.failures()) == 1
        site.arrive(turn + 4)
        assert site.failures() == []


def test_an_agent_that_is_refused_is_a_failure(site: Site) -> None:
    site.work()
    agent = site.arrive(1, python="2.7")

    site.bench.judge.end(agent, "left", site.now)
    site.tick()

    assert [failure.failures for failure in site.failures()] == [1]


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


def test_what_vanished_has_ended_at_the_second_look(site: Site) -> None:
    site.work()
    site.launcher.status.clear()

    site.tick(LOOK_EVERY)
    assert site.stages() == ["queued"] * 4
    site.tick(LOOK_EVERY)

    assert site.stages() == []


def test_an_agent_of_which_the_batch_system_knows_the_end_is_certainly_dead(site: Site) -> None:
    site.work()
    agent = site.arrive(1)
    site.bench.clock += 20
    site.bench.look()
    site.launcher.status["1_1"] = replace(DEAD, reason="NODE_FAIL")

    site.tick(LOOK_EVERY)

    assert [(e.agent, e.reason) for e in site.bench.told(AgentEnded)] == [(agent, "lost")]
    assert site.stages() == ["queued"] * 3


def test_a_batch_system_that_does_not_answer_changes_and_stops_nothing(site: Site) -> None:
    site.work()
    before = site.pilots()
    site.launcher.trouble = LaunchPostponed("still trying")

    site.tick(LOOK_EVERY)
    site.tick(LOOK_EVERY)

    assert site.pilots() == before
    assert len(site.launcher.queries) == 2


def test_the_loop_does_not_wait_for_a_command(site: Site) -> None:
    site.allocator = allocator_of(site.bench, site.launcher, Never)
    site.work()
    site.tick(LOOK_EVERY)

    assert site.stages() == ["submitting"] * 4
    assert site.launcher.requests == []


def test_a_new_coordinator_knows_what_its_predecessor_has_asked_for(site: Site) -> None:
    site.work()

    site.allocator = allocator_of(site.bench, site.launcher)
    site.tick(GATHER)
    site.tick(GATHER)

    assert len(site.launcher.requests) == 1
    site.arrive(3)
    assert site.stages() == ["queued", "queued", "running", "queued"]


@pytest.mark.parametrize("was_submitted", [True, False])
def test_a_submission_during_which_a_coordinator_died_is_settled(
    site: Site, *, was_submitted: bool
) -> None:
    site.allocator = allocator_of(site.bench, site.launcher, Never)
    site.work(2)
    (pilot,) = site.pilots()
    assert pilot.stage is Stage.SUBMITTING
    if was_submitted:
        place = make_place(site.bench.desk.paths.allocation(pilot.allocation))
        keep_submitted(place, Submitted(ids=("7",), elements=("7_1",)))

    allocator_of(site.bench, site.launcher)

    assert [(p.id, str(p.stage)) for p in site.pilots()] == (
        [("7_1", "queued")] if was_submitted else []
    )
