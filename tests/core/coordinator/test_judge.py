"""Judging: who lives, who is suspected, who is lost, and what becomes of their work."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.core.book import CLASS

from batchpilot.coordinator.happenings import AgentEnded, AgentSeen, JobsRequeued
from batchpilot.coordinator.judge import LOST_AFTER, SUSPECT_AFTER, YOUNG, misfit
from batchpilot.store.pages import State
from batchpilot_broker.host import boot_id, host_name, process_start
from batchpilot_broker.nouns import PROTOCOL_MAJOR

from .conftest import Bench


def busy(bench: Bench, *, agent: str = "a1", started: float | None = None, jobs: int = 5) -> int:
    """Let an agent hold a chunk of all jobs, begun at a time if it is; return its number."""
    bench.book.define(jobs)
    bench.book.queue(range(1, jobs + 1))
    number = bench.book.feed(range(1, jobs + 1), agent=agent)
    bench.broker.held[number] = agent
    if started is not None:
        bench.agents[agent].begin_chunk(number, started)
        bench.hear(bench.agents[agent].report())
    return number


def test_an_agent_is_seen_once(bench: Bench) -> None:
    bench.agent()
    bench.look()

    assert bench.told(AgentSeen) == [AgentSeen("a1", "local")]


def test_an_agent_whose_counter_moves_lives(bench: Bench) -> None:
    bench.agent()
    busy(bench)

    bench.wait(3 * LOST_AFTER, "a1")

    assert bench.told(AgentEnded) == []
    assert bench.told(JobsRequeued) == []


def test_young_work_of_a_silent_agent_is_given_away_after_fifteen_seconds(bench: Bench) -> None:
    bench.agent()
    number = busy(bench, started=bench.clock)
    bench.wait(SUSPECT_AFTER)
    assert bench.told(JobsRequeued) == []

    bench.wait(2)

    assert bench.told(JobsRequeued) == [JobsRequeued("agent_suspect", 5)]
    assert bench.book.again() == [(True, [1]), (False, [2, 3, 4, 5])]
    assert bench.book.column("charged") == [1, 0, 0, 0, 0]
    assert number not in bench.broker.held
    assert bench.told(AgentEnded) == []


def test_old_work_of_a_silent_agent_waits_until_it_is_lost(bench: Bench) -> None:
    bench.agent()
    busy(bench, started=bench.clock - YOUNG - 1)
    bench.wait(LOST_AFTER)
    assert bench.book.states() == [State.FED] * 5

    bench.wait(2)

    assert bench.told(AgentEnded) == [AgentEnded("a1", "local", "lost")]
    assert bench.book.states() == [State.QUEUED] * 5
    assert "a1" not in bench.broker.known


def test_what_a_lost_agent_had_finished_stays_finished(bench: Bench) -> None:
    agent = bench.agent()
    busy(bench, started=bench.clock)
    for job in (1, 2, 3):
        agent.end(job)

    bench.wait(SUSPECT_AFTER + 2)

    assert bench.book.states() == [State.DONE] * 3 + [State.QUEUED] * 2
    assert bench.book.again() == [(True, [4]), (False, [5])]


def test_a_chunk_that_was_not_begun_charges_nobody(bench: Bench) -> None:
    bench.agent()
    busy(bench)

    bench.wait(SUSPECT_AFTER + 2)

    assert bench.book.again() == [(False, [1, 2, 3, 4, 5])]
    assert bench.book.column("charged") == [0] * 5


def test_a_suspect_that_comes_back_is_an_agent_again(bench: Bench) -> None:
    bench.agent()
    bench.wait(SUSPECT_AFTER + 2)
    bench.wait(1, "a1")
    number = busy(bench)

    bench.wait(SUSPECT_AFTER)
    assert number in bench.broker.held
    bench.wait(2)
    assert number not in bench.broker.held


def test_when_half_a_large_pool_is_silent_nobody_is_suspected(bench: Bench) -> None:
    for name in ("a1", "a2", "a3", "a4"):
        bench.agent(name)
    busy(bench, started=bench.clock)

    bench.wait(SUSPECT_AFTER + 30, "a4")
    assert bench.told(JobsRequeued) == []

    bench.wait(LOST_AFTER, "a4")
    assert {ended.agent for ended in bench.told(AgentEnded)} == {"a1", "a2", "a3"}


def test_agents_that_fall_silent_and_come_back_one_after_another_keep_their_work(
    bench: Bench,
) -> None:
    for name in ("a1", "a2", "a3", "a4"):
        bench.agent(name)
    busy(bench, started=bench.clock)

    bench.wait(2, "a2", "a3", "a4")
    bench.wait(2, "a3", "a4")
    bench.wait(SUSPECT_AFTER + 10, "a4")
    bench.wait(4, "a2", "a4")
    bench.wait(4, "a2", "a3", "a4")
    assert bench.told(JobsRequeued) == []

    bench.wait(SUSPECT_AFTER, "a2", "a3", "a4")
    assert bench.told(JobsRequeued) == [JobsRequeued("agent_suspect", 5)]


def test_one_of_a_large_pool_is_suspected(bench: Bench) -> None:
    for name in ("a1", "a2", "a3", "a4"):
        bench.agent(name)
    busy(bench, started=bench.clock)

    bench.wait(SUSPECT_AFTER + 2, "a2", "a3", "a4")

    assert bench.told(JobsRequeued) == [JobsRequeued("agent_suspect", 5)]


def test_a_new_coordinator_judges_nobody_before_it_has_listened(bench: Bench) -> None:
    bench.agent()
    busy(bench)
    bench.clock += 10 * LOST_AFTER
    bench.judge = bench.new_judge()
    bench.judge.start()

    bench.look()
    bench.wait(SUSPECT_AFTER)
    assert bench.told(JobsRequeued) == []

    bench.wait(2)
    assert bench.told(JobsRequeued) == [JobsRequeued("agent_suspect", 5)]


def test_nobody_is_judged_for_the_time_in_which_the_broker_was_away(bench: Bench) -> None:
    bench.agent()
    busy(bench, started=bench.clock)
    bench.clock += 10 * LOST_AFTER
    bench.judge.restart_watch()

    bench.wait(SUSPECT_AFTER)

    assert bench.told(JobsRequeued) == []


def dead_process() -> tuple[int, int]:
    """Return the pid and start of a process of this host that is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = process_start(process.pid)
    process.communicate()
    return process.pid, start


def on_this_host(bench: Bench, pid: int, start: int) -> None:
    """Let agent a1 be a process of this host."""
    info = bench.broker.known["a1"]
    bench.broker.known["a1"] = replace(
        info, host=host_name(), boot=boot_id(), pid=pid, pid_start=start
    )


def test_an_agent_of_this_host_whose_process_is_gone_is_lost_when_its_slots_had_time_to_die(
    bench: Bench,
) -> None:
    agent = bench.agent()
    busy(bench, started=bench.clock)
    on_this_host(bench, *dead_process())
    bench.look()
    bench.look()
    assert bench.told(AgentEnded) == []
    agent.end(1)  # by a slot that lived a moment longer

    bench.wait(1)

    assert bench.told(AgentEnded) == [AgentEnded("a1", "local", "lost")]
    assert bench.book.states() == [State.DONE] + [State.QUEUED] * 4
    assert bench.book.again() == [(True, [2]), (False, [3, 4, 5])]
    assert bench.book.column("charged") == [0, 1, 0, 0, 0]


def test_an_agent_of_this_host_whose_process_lives_is_left_alone(bench: Bench) -> None:
    bench.agent()
    on_this_host(bench, os.getpid(), process_start(os.getpid()))
    busy(bench)

    bench.look()

    assert bench.told(AgentEnded) == []


def test_an_agent_that_said_good_bye_is_not_charged(bench: Bench) -> None:
    bench.agent()
    busy(bench, started=bench.clock)
    on_this_host(bench, *dead_process())
    bench.broker.leave("a1")
    bench.judge.end("a1", "left", bench.clock)

    assert bench.told(AgentEnded) == [AgentEnded("a1", "local", "left")]
    assert bench.book.column("charged") == [0] * 5
    assert bench.book.states() == [State.QUEUED] * 5


def test_the_third_agent_lost_with_a_job_expires_it(bench: Bench) -> None:
    bench.book.define(1)
    bench.book.queue([1])
    for name in ("a1", "a2", "a3"):
        agent = bench.agent(name)
        number = bench.book.feed([1], agent=name)
        agent.begin_chunk(number, bench.clock)
        bench.hear(agent.report())
        bench.judge.end(name, "lost", bench.clock)

    assert bench.book.states() == [State.EXPIRED]
    assert bench.book.column("charged") == [3]
    segment = bench.desk.paths.segments / bench.desk.segment_name
    assert b"agent lost" in segment.read_bytes()


@pytest.mark.parametrize("what", ["protocol", "python"])
def test_an_agent_of_another_version_is_refused_with_the_reason(bench: Bench, what: str) -> None:
    bench.agent()
    info = bench.broker.known["a1"]
    other = (
        replace(info, id="a2", protocol=(PROTOCOL_MAJOR + 1, 0))
        if what == "protocol"
        else replace(info, id="a2", python="2.7")
    )
    bench.broker.register(other)

    bench.look()

    (message,) = bench.broker.told["a2"]
    assert (message["kind"], message["why"]) == ("refused", misfit(other))
    assert bench.broker.told["a1"] == []


def test_a_newer_minor_protocol_is_no_reason(bench: Bench) -> None:
    bench.agent()
    info = bench.broker.known["a1"]

    assert misfit(replace(info, protocol=(PROTOCOL_MAJOR, 99))) == ""


def test_a_lease_is_written_down_with_its_agent(bench: Bench) -> None:
    bench.book.define(1)
    bench.book.queue([1])
    bench.agent()
    bench.feeder.tick(0.0)
    bench.claim()

    with bench.book.database.read() as tx:
        assert [(row[0], row[5]) for row in tx.all("all_chunks")] == [(1, "a1")]
    assert bench.broker.queues[CLASS] == []
