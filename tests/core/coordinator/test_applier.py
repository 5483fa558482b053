"""Applying: every record exactly once, whatever becomes of the events that tell of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.book import CLASS

from batchpilot.coordinator.happenings import JobsEnded, JobsRequeued, Rejected
from batchpilot.store.changing import MAX_PLANNED_ENDS, ROW_DTYPE
from batchpilot.store.pages import State
from batchpilot_broker.nouns import Outcome, Report

from .conftest import Bench


def held(bench: Bench, jobs: int = 6) -> Bench:
    """Let an agent hold one chunk of all jobs."""
    bench.book.define(jobs)
    bench.book.queue(range(1, jobs + 1))
    bench.agent()
    bench.book.feed(range(1, jobs + 1), agent="a1")
    return bench


def applied(bench: Bench, segment: str = "a1.results") -> int:
    with bench.book.database.read() as tx:
        return int(tx.execute("read_segment", segment).fetchone()[1])


def ends_kept(bench: Bench) -> list[int]:
    """Return the jobs of all outcome rows, each as often as it is kept."""
    with bench.book.database.read() as tx:
        blobs = [blob for _, _, blob in tx.all("all_outcomes")]
    return sorted(np.frombuffer(b"".join(blobs), ROW_DTYPE)["job"].tolist())


def test_a_report_moves_the_segment_and_the_states_together(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)
    agent.end(2, Outcome.ERROR)
    report = agent.report()

    bench.hear(report)

    assert bench.book.states()[:3] == [State.DONE, State.ERROR, State.FED]
    assert applied(bench) == report.end
    assert [h.rows["job"].tolist() for h in bench.told(JobsEnded)] == [[1, 2]]


def test_a_report_that_comes_twice_is_applied_once(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)
    report = agent.report()

    bench.hear(report, report)
    bench.hear(report)

    assert ends_kept(bench) == [1]
    assert bench.told(Rejected) == []


def test_a_report_that_is_missing_is_read_from_the_segment(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)
    agent.report()
    agent.end(2)

    bench.hear(agent.report())

    assert bench.book.states()[:3] == [State.DONE, State.DONE, State.FED]
    assert ends_kept(bench) == [1, 2]


def test_the_tail_of_a_segment_nobody_reported_is_applied(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)

    bench.applier.read_tails()
    bench.applier.read_tails()

    assert ends_kept(bench) == [1]


def test_the_end_of_a_chunk_teaches_its_run_time(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    for job in range(1, 7):
        agent.end(job)
    agent.end_chunk(1, jobs=6, seconds=3.0)

    bench.hear(agent.report())

    assert bench.sizer.expected(CLASS) == 0.5
    assert bench.told(JobsRequeued) == []


def test_jobs_that_a_chunk_leaves_unaccounted_are_queued_again(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)
    agent.end_chunk(1, jobs=1)

    bench.hear(agent.report())

    assert bench.book.again() == [(False, [2, 3, 4, 5, 6])]
    assert bench.told(JobsRequeued) == [JobsRequeued("unaccounted", 5)]


def test_jobs_handed_back_are_queued_again_uncharged(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)
    agent.hand_back(1, 3, 5, "overrun")

    bench.hear(agent.report())

    assert bench.book.again() == [(False, [3, 4, 5])]
    assert bench.book.column("charged") == [0] * 6
    assert bench.book.column("planned") == [0] * 6


def test_a_job_that_ends_by_plan_ten_times_is_expired_as_never_fitting(bench: Bench) -> None:
    bench.book.define(1)
    bench.book.queue([1])
    agent = bench.agent()
    for _ in range(MAX_PLANNED_ENDS):
        number = bench.book.feed([1], agent="a1")
        agent.hand_back(number, 1, 1, "drain")
        bench.hear(agent.report())

    assert bench.book.states() == [State.EXPIRED]
    assert "never fits" in coordinator_words(bench)


def coordinator_words(bench: Bench) -> str:
    return (bench.desk.paths.segments / bench.desk.segment_name).read_bytes().decode("latin-1")


def test_an_end_by_an_older_attempt_cancels_its_rival(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1, Outcome.LOST)
    bench.hear(agent.report())
    bench.book.feed([1])
    bench.agent("a2")
    agent.end(1, Outcome.DONE, attempt=1)

    bench.hear(agent.report())

    cancel = {"kind": "cancel", "ranges": [[1, 1]], "attempt": 0xFFFFFFFF}
    assert bench.broker.told["a1"] == bench.broker.told["a2"] == [cancel]


def test_late_rows_are_counted(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    agent.end(1)
    agent.end(1, Outcome.ERROR)

    bench.hear(agent.report())

    assert bench.told(Rejected) == [Rejected("late row", 1)]
    assert bench.book.states()[0] is State.DONE


def test_damage_in_a_segment_is_told_and_the_rest_applied(bench: Bench) -> None:
    agent = held(bench).agents["a1"]
    path: Path = bench.desk.paths.results("a1")
    with path.open("ab") as file:
        file.write(b"torn bytes")
    agent.end(1)

    bench.applier.read_tails()

    assert bench.book.states()[0] is State.DONE
    assert bench.told(Rejected) == [Rejected("damaged bytes in a1.results", 1)]


def test_hints_on_running_jobs_are_noted(bench: Bench) -> None:
    agent = held(bench).agents["a1"]

    bench.hear(agent.report(running=((2, 1, 5.0, 77),)))

    with bench.book.database.read() as tx:
        assert tx.all("all_running") == [(2, 1, "a1", 5.0, 77)]
    assert bench.book.states()[1] is State.RUNNING


JOBS = 12
FATES = st.lists(
    st.tuples(st.sampled_from([Outcome.DONE, Outcome.ERROR, Outcome.EXPIRED]), st.booleans()),
    min_size=JOBS,
    max_size=JOBS,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(fates=FATES, deliveries=st.lists(st.integers(0, JOBS - 1), max_size=30))
def test_whatever_reports_are_lost_doubled_or_late_each_record_counts_once(
    new_bench: Callable[[], Bench], fates: list[tuple[Outcome, bool]], deliveries: list[int]
) -> None:
    bench = held(new_bench(), JOBS)
    agent = bench.agents["a1"]
    reports: list[Report] = []
    for job, (outcome, last_of_report) in enumerate(fates, 1):
        agent.end(job, outcome)
        if last_of_report or job == JOBS:
            reports.append(agent.report())

    for delivery in deliveries:
        bench.hear(reports[delivery % len(reports)])
    bench.applier.read_tails()
    bench.hear(*reports)

    expected = {Outcome.DONE: State.DONE, Outcome.ERROR: State.ERROR}
    assert bench.book.states() == [expected.get(o, State.EXPIRED) for o, _ in fates]
    assert ends_kept(bench) == list(range(1, JOBS + 1))
    assert applied(bench) == reports[-1].end
    assert bench.told(Rejected) == []
