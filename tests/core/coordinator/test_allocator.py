"""Agents at batch systems: asked for once and in large arrays, looked after, and never in vain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchpilot.coordinator.allocator import CANCEL_AGAIN, COOL_DOWN, GATHER, LOOK_EVERY
from batchpilot.coordinator.happenings import AgentEnded, SchedulerCalled
from batchpilot.pools import Local, Slurm
from batchpilot.store.allocations import Stage
from batchpilot.store.dismissals import dismiss
from batchpilot_agent.errors import LaunchPostponed
from batchpilot_agent.launchers.keeping import keep_submitted, make_place
from batchpilot_agent.launchers.nouns import (
    Submitted,
)
from batchpilot_broker.nouns import ResourceClass

from .batch_site import DEAD, Never, Site, allocator_of


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


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_batch_system_that_refuses_to_cancel_is_not_pressed(
    site: Site, *, all_of_them: bool
) -> None:
    site.work()
    site.launcher.trouble = LaunchPostponed("slurm_kill_job2: Socket timed out")
    with site.bench.desk.db.write() as tx:
        if all_of_them:
            tx.set_meta("agents_stopped", 1)
        else:
            dismiss(tx, ["1_2"])
    for _ in range(10):
        site.tick()

    assert len(site.bench.told(SchedulerCalled)) == 2

    site.launcher.trouble = None
    site.tick(CANCEL_AGAIN)
    assert "1_2" in site.launcher.cancelled


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


def test_an_agent_whose_host_refuses_is_asked_for_again_and_the_others_keep_their_names(
    site: Site,
) -> None:
    site.launcher.shortfall, site.launcher.untaken = "h1: no route", frozenset([1])
    site.work()

    named = [(pilot.number, pilot.id) for pilot in site.pilots()]
    assert named == [(2, "1_2"), (3, "1_3"), (4, "1_4")]
    agent = site.arrive(3)
    assert [(p.id, p.agent) for p in site.pilots() if p.agent] == [("1_3", agent)]

    site.launcher.shortfall, site.launcher.untaken = "", frozenset()
    for _ in range(2):
        site.tick(LOOK_EVERY)
    assert [request.agents for request in site.launcher.requests] == [4, 1]


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
