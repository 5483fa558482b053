"""What is counted, how often, and what of it a restart keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.core.book import CLASS, array

from batchpilot.coordinator.happenings import (
    AgentEnded,
    AgentSeen,
    BrokerChanged,
    ChunksFed,
    EventsApplied,
    JobsRequeued,
    LaunchFailed,
    Rejected,
    SchedulerCalled,
)
from batchpilot.coordinator.watching import Watcher
from batchpilot.coordinator.watching.catalogue import CATALOGUE, QUEUE_WAIT, RUN_DURATION
from batchpilot.coordinator.watching.exposition import Exposition
from batchpilot.coordinator.watching.totals import MOST_VALUES, Totals
from batchpilot.coordinator.watching.watcher import SNAPSHOT_EVERY
from batchpilot.resources import class_id
from batchpilot.status import Status
from batchpilot.store.changing import revoke
from batchpilot.store.owner import Office
from batchpilot_broker.frames import NO_PART, pack_row
from batchpilot_broker.nouns import Outcome, Reason, ResourceClass

from .conftest import Bench


Seen = dict[tuple[str, ...], float]
NewWatcher = Callable[[], Watcher]


@pytest.fixture
def new_watcher(bench: Bench) -> NewWatcher:
    """Give a function that makes what the next coordinator would watch with."""

    def make() -> Watcher:
        office = Office(bench.desk.paths, bench.book.database)
        status = Status(defined=9, submitted=7, queued=2, running=1, done=4)
        watcher = Watcher(bench.desk, office, lambda: status, {"local": 3})
        bench.desk.bus.listen(watcher)
        watcher.tick(0.0)
        return watcher

    return make


@pytest.fixture
def watcher(new_watcher: NewWatcher) -> Watcher:
    return new_watcher()


def seen(watcher: Watcher, after: float | None = 1e9) -> Seen:
    """Return the samples of a scrape, by name and label values without the registry."""
    if after is not None:
        watcher._next = 0.0
        watcher.tick(after)
    text = Exposition("r", lambda: watcher.exposed).text().decode()
    return {
        (s.name, *(v for k, v in sorted(s.labels.items()) if k != "registry")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def end(bench: Bench, *rows: tuple[int, Outcome, Reason, float, float, float]) -> None:
    """Let jobs end: (job, outcome, reason, started, ended, memory)."""
    agent = bench.agents.get("a1") or bench.agent()
    for job, outcome, reason, started, ended, memory in rows:
        fields = (job, 1, outcome, reason, 0, 0, started, ended, NO_PART, memory)
        agent._append(pack_row(fields, b""))
    bench.hear(agent.report())


def feed(bench: Bench, jobs: int) -> None:
    bench.book.define(jobs)
    bench.book.queue(range(1, jobs + 1))
    bench.book.feed(range(1, jobs + 1), agent="a1")


def test_ended_jobs_are_counted_by_outcome(bench: Bench, watcher: Watcher) -> None:
    feed(bench, 4)
    end(
        bench,
        (1, Outcome.DONE, Reason.NONE, 10, 12, 100),
        (2, Outcome.DONE, Reason.NONE, 10, 10.2, 0),
        (3, Outcome.ERROR, Reason.NONE, 10, 14, 0),
        (4, Outcome.EXPIRED, Reason.WALLTIME, 10, 100, 0),
    )

    now = seen(watcher)

    finished = "batchpilot_jobs_finished_total"
    assert [now[finished, kind] for kind in ("done", "error", "expired")] == [2, 1, 1]
    run = "batchpilot_job_run_duration_seconds"
    assert now[f"{run}_sum", "done"] == pytest.approx(2.2)
    assert now[f"{run}_bucket", "0.5", "done"] == 1
    assert now[f"{run}_bucket", "5.0", "done"] == 2
    assert now[f"{run}_bucket", "300.0", "expired"] == 1
    assert now["batchpilot_job_peak_memory_bytes_sum", "done"] == 100 << 20
    assert now["batchpilot_job_peak_memory_bytes_count", "done"] == 1
    assert now["batchpilot_job_queue_wait_seconds_sum", CLASS] == 40
    assert now["batchpilot_job_queue_wait_seconds_bucket", CLASS, "15.0"] == 4


@pytest.mark.parametrize("reason", [Reason.AGENT_LOST, Reason.NEVER_FITS, Reason.PREDECESSOR])
def test_a_job_that_the_coordinator_gave_up_has_no_run_time(
    bench: Bench, watcher: Watcher, reason: Reason
) -> None:
    feed(bench, 1)
    end(bench, (1, Outcome.EXPIRED, reason, 0, 50, 0))

    now = seen(watcher)

    assert now["batchpilot_jobs_finished_total", "expired"] == 1
    assert now["batchpilot_job_run_duration_seconds_count", "expired"] == 0


def test_a_restart_shows_the_same_counters(bench: Bench, new_watcher: NewWatcher) -> None:
    feed(bench, 3)
    first = new_watcher()
    end(bench, (1, Outcome.DONE, Reason.NONE, 1, 2, 64))
    bench.desk.bus.tell(JobsRequeued("handed back", 5))
    before = seen(first)

    after = seen(new_watcher(), after=None)

    counters = {
        metric.name: metric.type for metric in CATALOGUE if metric.type in {"counter", "histogram"}
    }
    kept = {key: value for key, value in before.items() if key[0].startswith(tuple(counters))}
    assert len(kept) > 50
    kept = {key: v for key, v in kept.items() if "roundtrip" not in key[0]}  # measured once more
    assert {key: after[key] for key in kept} == kept
    assert after["batchpilot_jobs_requeued_total", "handed_back"] == 5


def test_what_ended_unseen_before_a_crash_is_counted_once(
    bench: Bench, new_watcher: NewWatcher
) -> None:
    feed(bench, 3)
    seen(new_watcher())
    end(bench, (1, Outcome.DONE, Reason.NONE, 1, 2, 0), (2, Outcome.DONE, Reason.NONE, 1, 2, 0))

    now = seen(new_watcher(), after=None)

    assert now["batchpilot_jobs_finished_total", "done"] == 2
    assert now["batchpilot_job_queue_wait_seconds_count", CLASS] == 2


def test_a_registry_that_was_never_watched_is_counted_whole(
    bench: Bench, new_watcher: NewWatcher
) -> None:
    feed(bench, 50)
    end(bench, *((job, Outcome.DONE, Reason.NONE, 1.0, 2.0, 0.0) for job in range(1, 51)))

    assert seen(new_watcher(), after=None)["batchpilot_jobs_finished_total", "done"] == 50


def test_a_scrape_shows_nothing_that_is_not_written_down(bench: Bench, watcher: Watcher) -> None:
    bench.desk.bus.tell(JobsRequeued("drain", 5))
    shown_at_once = seen(watcher, after=None)
    shown_later = seen(watcher)

    with bench.book.database.read() as tx:
        kept = Totals.of(json.loads(tx.meta("watching")))
    assert shown_at_once["batchpilot_jobs_requeued_total", "drain"] == 0
    assert shown_later["batchpilot_jobs_requeued_total", "drain"] == 5
    assert kept.counters["batchpilot_jobs_requeued_total", ("drain",)] == 5


def test_what_the_bus_tells_is_counted(bench: Bench, watcher: Watcher) -> None:
    for happening in (
        ChunksFed("c1", 2, 80),
        JobsRequeued("agent_lost", 3),
        AgentSeen("local-1", "local"),
        AgentEnded("local-1", "local", "lost"),
        AgentEnded("never-seen", "", "left"),
        LaunchFailed("local", "no"),
        Rejected("damaged bytes in local-1.results", 2),
        EventsApplied(7, 0.02),
        SchedulerCalled("slurm", "query", 0.3),
        SchedulerCalled("slurm", "query", 9.0, ok=False),
    ):
        bench.desk.bus.tell(happening)

    now = seen(watcher)

    assert now["batchpilot_chunks_fed_total", "c1"] == 2
    assert now["batchpilot_jobs_fed_total", "c1"] == 80
    assert now["batchpilot_jobs_requeued_total", "agent_lost"] == 3
    assert now["batchpilot_agents_started_total", "local", "local"] == 1
    assert now["batchpilot_agents_ended_total", "local", "local", "lost"] == 1
    assert now["batchpilot_agents_ended_total", "local", "local", "left"] == 0
    assert now["batchpilot_agent_launch_failures_total", "local", "local"] == 1
    assert now["batchpilot_coordinator_events_rejected_total", "damaged_bytes"] == 2
    assert now["batchpilot_coordinator_events_applied_total",] == 7
    assert now["batchpilot_coordinator_apply_duration_seconds_bucket", "0.05"] == 1
    assert now["batchpilot_scheduler_calls_total", "query", "slurm", "ok"] == 1
    assert now["batchpilot_scheduler_calls_total", "query", "slurm", "failed"] == 1
    assert now["batchpilot_scheduler_call_duration_seconds_sum", "query", "slurm"] == 9.3


def test_no_agent_of_the_bus_comes_into_a_label(bench: Bench, watcher: Watcher) -> None:
    bench.desk.bus.tell(AgentSeen("secret-name", "local"))
    bench.desk.bus.tell(Rejected("damaged bytes in secret-name.results"))
    watcher.tick(SNAPSHOT_EVERY)

    assert b"secret-name" not in Exposition("r", lambda: watcher.exposed).text()


def test_the_snapshot_is_shown(bench: Bench, watcher: Watcher) -> None:
    bench.agent("a1", slots=2)
    bench.agent("a2", slots=3)
    bench.book.define(10)
    bench.book.queue(range(1, 11))
    bench.book.queue([9], ResourceClass(ncpus=4))
    bench.feeder.tick(0.0)
    bench.claim("a1")

    now = seen(watcher)

    assert now["batchpilot_jobs", "not_submitted"] == 2
    assert now["batchpilot_jobs", "queued"] == 2
    assert now["batchpilot_queue_depth", CLASS] == 8  # one was claimed, one is in another class now
    assert now["batchpilot_queue_depth", class_id(ResourceClass(ncpus=4))] == 1
    assert now["batchpilot_queue_oldest_job_timestamp_seconds", CLASS] == 0.0
    assert now["batchpilot_agents", "local", "local", "idle"] == 2
    assert now["batchpilot_agents", "local", "local", "draining"] == 0
    assert now["batchpilot_agent_slots", "local", "local", "idle"] == 5
    assert now["batchpilot_pool_wanted_agents", "local", "local"] == 3
    assert now["batchpilot_coordinator_last_snapshot_timestamp_seconds",] == 1e9
    assert now["batchpilot_coordinator_term",] == bench.desk.term
    assert now["batchpilot_broker_up",] == 1


def test_jobs_to_be_fed_again_wait_too(bench: Bench, watcher: Watcher) -> None:
    feed(bench, 6)
    with bench.book.database.write() as tx:
        tx.db.execute("DELETE FROM span")
        tx.db.execute("DELETE FROM chunk")
        tx.execute("add_again", CLASS, 1, 0, np.array([[1, 4], [6, 6]], "<u4").tobytes())

    assert seen(watcher)["batchpilot_queue_depth", CLASS] == 5


def test_an_empty_queue_has_no_oldest_job(bench: Bench, watcher: Watcher) -> None:
    bench.book.define(1)
    bench.book.queue([1])
    with bench.book.database.write() as tx:
        tx.db.execute("DELETE FROM span")

    now = seen(watcher)

    assert now["batchpilot_queue_depth", CLASS] == 0
    assert ("batchpilot_queue_oldest_job_timestamp_seconds", CLASS) not in now


def test_a_broker_that_is_away_is_down_at_once(bench: Bench, watcher: Watcher) -> None:
    bench.desk.bus.tell(BrokerChanged(up=False))
    at_once = seen(watcher, after=None)
    later = seen(watcher)
    bench.desk.bus.tell(BrokerChanged(up=True))
    back = seen(watcher)

    assert at_once["batchpilot_broker_up",] == later["batchpilot_broker_up",] == 0
    assert ("batchpilot_coordinator_event_lag_seconds",) not in later
    assert back["batchpilot_broker_up",] == 1


def test_at_most_twenty_classes_are_told_apart() -> None:
    totals = Totals()

    told = {totals.bounded("class", f"c{number}") for number in range(50)}

    assert len(told) == MOST_VALUES + 1
    assert "other" in told
    assert totals.bounded("class", "c3") == "c3"


def test_totals_come_back_from_their_record() -> None:
    totals = Totals()
    totals.begin()
    totals.bounded("class", "c1")
    totals.observe(QUEUE_WAIT, ("c1",), np.array([0.2, 7.0, 1e9, -3.0]))
    totals.upto = 17
    again = Totals.of(json.loads(json.dumps(totals.record())))

    assert again.record() == totals.record()


def test_a_histogram_whose_buckets_have_changed_begins_anew() -> None:
    totals = Totals()
    totals.observe(RUN_DURATION, ("done",), np.array([1.0]))
    record: dict[str, Any] = totals.record()
    record["histograms"][0][3] = [1, 2, 3]

    again = Totals.of(record)

    assert int(again.histograms[RUN_DURATION.name, ("done",)].counts.sum()) == 0


def test_a_job_that_was_reset_meanwhile_has_no_wait(bench: Bench, watcher: Watcher) -> None:
    feed(bench, 2)
    end(bench, (1, Outcome.DONE, Reason.NONE, 5, 6, 0), (2, Outcome.DONE, Reason.NONE, 5, 6, 0))
    with bench.book.database.write() as tx:
        revoke(tx, array([1]))

    now = seen(watcher)

    assert now["batchpilot_jobs_finished_total", "done"] == 2
    assert now["batchpilot_job_queue_wait_seconds_count", CLASS] == 1


def test_a_registry_that_was_cleared_goes_on_counting(bench: Bench, watcher: Watcher) -> None:
    feed(bench, 2)
    end(bench, (1, Outcome.DONE, Reason.NONE, 5, 6, 0))
    seen(watcher)
    with bench.book.database.write() as tx:
        tx.db.execute("DELETE FROM outcome")
    seen(watcher)
    end(bench, (2, Outcome.DONE, Reason.NONE, 5, 6, 0))

    assert seen(watcher)["batchpilot_jobs_finished_total", "done"] == 2
