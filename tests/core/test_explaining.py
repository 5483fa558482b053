"""Why a job is where it is, from registries whose states are made by hand: nothing runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.core.book import Book, open_book

from batchpilot import pools
from batchpilot.explaining import explain
from batchpilot.reasons import Cause, Explanation
from batchpilot.registry.whole import Registry, load_registry
from batchpilot.store.changing import Applied, charge, give_back, note_running, revoke
from batchpilot.store.gates import hold, settle
from batchpilot.store.launches import Failed, LaunchFailure, note_failure
from batchpilot.store.owner import read_owner, write_owner
from batchpilot.store.pages import State
from batchpilot_broker.frames import NO_PART, pack_row
from batchpilot_broker.host import boot_id, process_start
from batchpilot_broker.nouns import Outcome, Reason, ResourceClass

from .conftest import HandMade


NOW = 1000.0


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """Ten jobs are defined."""
    with open_book(tmp_path / "study") as made:
        made.define(10)
        yield made


@pytest.fixture
def registry(book: Book) -> Iterator[Registry]:
    with load_registry(book.database.paths.root, writeable=False) as opened:
        yield opened


def causes(told: Explanation) -> list[Cause]:
    return [reason.cause for reason in told.reasons]


def text(told: Explanation, cause: Cause) -> str:
    (found,) = (reason.text for reason in told.reasons if reason.cause is cause)
    return found


def add_agent(book: Book, name: str = "a1", slots: int = 2) -> None:
    with book.database.write() as tx:
        tx.execute("add_agent", name, "local", "far-away", 1, "idle", slots, 0.0, b"\x80")


def begin(book: Book, chunk: int, agent: str = "a1") -> None:
    with book.database.write() as tx:
        tx.execute("start_chunk", agent, NOW - 5, chunk)


def configure(book: Book, **entries: object) -> None:
    with book.database.write() as tx:
        for name, value in entries.items():
            tx.set_meta(name, value)


def test_a_job_that_was_never_submitted_is_told_how(book: Book, registry: Registry) -> None:
    told = explain(registry, 3, NOW)

    assert (told.job, told.state) == (3, "not-submitted")
    assert causes(told) == [Cause.NOT_SUBMITTED]
    assert told.reasons[0].text == "it is not submitted"
    assert told.reasons[0].remedy == f"batchpilot submit {book.database.paths.root} 3"


def test_a_revoked_job_was_killed_or_reset(book: Book, registry: Registry) -> None:
    book.queue([3])
    book.feed([3])
    with book.database.write() as tx:
        revoke(tx, np.array([3]))

    assert "attempts up to 1 were revoked" in text(explain(registry, 3, NOW), Cause.NOT_SUBMITTED)


def test_a_queued_job_knows_how_many_of_its_class_come_before_it(
    book: Book, registry: Registry
) -> None:
    book.queue([1, 2, 3, 4])
    book.queue([9, 8, 7])
    book.feed([1, 2])
    book.feed([3], agent="a1")
    with book.database.write() as tx:
        tx.execute("move_span", 3, 1)  # what was fed
    book.queue([5], ResourceClass(ncpus=2))

    said = {job: text(explain(registry, job, NOW), Cause.QUEUED) for job in (1, 2, 4, 9, 7, 5)}

    assert said == {
        1: "submitted 16 min 40 s ago, next of its class",
        2: "submitted 16 min 40 s ago, behind 1 job of its class",
        4: "submitted 16 min 40 s ago, behind 2 jobs of its class",
        9: "submitted 16 min 40 s ago, behind 3 jobs of its class",
        7: "submitted 16 min 40 s ago, behind 5 jobs of its class",
        5: "submitted 16 min 40 s ago, next of its class",
    }


def test_killed_jobs_do_not_count_as_ahead(book: Book, registry: Registry) -> None:
    book.queue([1, 2, 3, 4])
    with book.database.write() as tx:
        revoke(tx, np.array([2, 3]))

    assert text(explain(registry, 4, NOW), Cause.QUEUED).endswith("behind 1 job of its class")


@pytest.mark.parametrize(
    ("after", "words"),
    [([1], "waits for predecessor 1"), ([1, 2, 3], "waits for predecessor 1 and 2 more")],
)
def test_a_job_that_waits_for_others_names_them_and_needs_no_agent(
    book: Book, registry: Registry, after: list[int], words: str
) -> None:
    book.queue([1, 2, 3])
    number = book.queue([4])
    with book.database.write() as tx:
        hold(tx, number, np.array(after))
    told = explain(registry, 4, NOW)

    assert causes(told) == [Cause.WAITING, Cause.NO_COORDINATOR]
    assert text(told, Cause.WAITING) == f"submitted 16 min 40 s ago, {words}"


def test_a_job_behind_what_failed_is_about_to_expire(book: Book, registry: Registry) -> None:
    book.queue([1])
    number = book.queue([2])
    with book.database.write() as tx:
        hold(tx, number, np.array([1]))
    with book.database.write() as tx:
        revoke(tx, np.array([1]))
    with book.database.write() as tx:
        settle(tx)

    told = text(explain(registry, 2, NOW), Cause.WAITING)
    assert told.endswith("about to expire: predecessor 1 failed")


def test_jobs_to_be_fed_again_come_before_those_never_fed(book: Book, registry: Registry) -> None:
    book.queue([1, 2, 3])
    chunk = book.feed([3], agent="a1")
    with book.database.write() as tx:
        give_back(tx, np.array([3]), 1, planned=True)
        tx.execute("drop_chunk", chunk)
    told = explain(registry, 3, NOW)

    assert text(told, Cause.QUEUED).endswith("next of its class")
    assert text(told, Cause.HANDED_BACK).startswith("handed back once by agents that had to go")
    assert text(explain(registry, 2, NOW), Cause.QUEUED).endswith("behind 2 jobs of its class")


def test_a_claimed_job_waits_in_its_chunk(book: Book, registry: Registry) -> None:
    book.queue([1, 2, 3])
    chunk = book.feed([1, 2, 3], agent="a1")
    before = text(explain(registry, 3, NOW), Cause.CLAIMED)
    begin(book, chunk)
    book.apply((1, 1, Outcome.DONE))

    assert before.endswith("claimed by agent a1 in a chunk not begun, behind 2 jobs there")
    assert text(explain(registry, 3, NOW), Cause.CLAIMED).endswith(
        "in a chunk begun 5.0 s ago, behind 1 job there"
    )


def test_a_job_that_is_in_no_chunk_says_so(book: Book, registry: Registry) -> None:
    book.queue([1])
    chunk = book.feed([1])
    with book.database.write() as tx:
        tx.execute("drop_chunk", chunk)

    assert text(explain(registry, 1, NOW), Cause.QUEUED).endswith("and in no chunk yet")


def test_without_a_coordinator_nothing_moves(book: Book, registry: Registry) -> None:
    book.queue([1])
    told = explain(registry, 1, NOW)

    assert causes(told) == [Cause.QUEUED, Cause.NO_COORDINATOR, Cause.NO_AGENT]
    assert told.reasons[1].text == "the coordinator is not running"
    assert told.reasons[1].remedy == f"batchpilot wait {book.database.paths.root}"


def test_a_coordinator_at_work_is_no_reason(book: Book, registry: Registry) -> None:
    book.queue([1])
    paths = book.database.paths
    me = os.getpid()  # stands for a coordinator's
    office = replace(read_owner(paths), pid=me, pid_start=process_start(me), boot=boot_id())
    write_owner(paths, office)

    assert Cause.NO_COORDINATOR not in causes(explain(registry, 1, NOW))


@pytest.mark.parametrize(("silent", "told"), [(10.0, False), (100.0, True)])
def test_a_coordinator_elsewhere_is_judged_by_its_beat(
    book: Book, registry: Registry, silent: float, told: bool
) -> None:
    book.queue([1])
    paths = book.database.paths
    office = replace(read_owner(paths), host="far-away", pid=7, heartbeat=NOW - silent)
    write_owner(paths, office)

    assert (Cause.NO_COORDINATOR in causes(explain(registry, 1, NOW))) is told


def test_pools_that_do_not_fit_are_told_with_their_reasons(book: Book, registry: Registry) -> None:
    book.queue([1], ResourceClass(ncpus=64))
    configure(book, pools='[{"kind": "Local", "slots": 2, "name": "here"}]')

    told = text(explain(registry, 1, NOW), Cause.NO_POOL)

    assert "here: ncpus=64 but its agents have 2" in told


def test_stopped_agents_are_to_be_resumed(book: Book, registry: Registry) -> None:
    book.queue([1])
    configure(book, agents_stopped=1)

    told = explain(registry, 1, NOW)

    assert causes(told) == [Cause.QUEUED, Cause.NO_COORDINATOR, Cause.AGENTS_STOPPED]
    assert "agents resume" in told.reasons[-1].remedy


def test_agents_that_fail_to_start_say_their_last_word(book: Book, registry: Registry) -> None:
    book.queue([1])
    with book.database.write() as tx:
        words = "Traceback\n  File x\nImportError: no module\n\n"
        failure = LaunchFailure(pool="local", time=NOW - 4, failures=3, words=words)
        note_failure(tx, failure)
        note_failure(tx, replace(failure, pool="another"))

    told = text(explain(registry, 1, NOW), Cause.LAUNCH_FAILED)

    assert told == (
        "agents of pool local failed to start 3 times in a row, last 4.0 s ago: "
        "ImportError: no module"
    )


def test_what_an_agent_of_a_batch_system_wrote_is_where_that_is_said_to_be(
    book: Book, registry: Registry
) -> None:
    book.queue([1])
    failure = LaunchFailure(
        pool="local", time=NOW, failures=1, words="", where="allocations/a/1.out"
    )
    with book.database.write() as tx:
        note_failure(tx, failure)
        note_failure(tx, replace(failure, what=Failed.QUERY, failures=3, words="timeout"))

    told = [r for r in explain(registry, 1, NOW).reasons if r.cause is Cause.LAUNCH_FAILED]

    query, start = told
    assert start.remedy.endswith(f"{registry.file_dir}/allocations/a/1.out")
    assert "not answered 3 times in a row" in query.text
    assert query.remedy == "mend that; it is tried again by itself"


def test_busy_agents_are_counted(book: Book, registry: Registry) -> None:
    book.queue([1, 2, 3])
    add_agent(book)
    begin(book, book.feed([1], agent="a1"))
    with book.database.write() as tx:
        tx.execute("move_span", 1, 1)

    told = text(explain(registry, 3, NOW), Cause.AGENTS_BUSY)

    assert told == "1 of 2 slots at 1 agent for it are busy"


def test_a_limit_of_jobs_at_once_is_told(book: Book, registry: Registry) -> None:
    book.queue([1])
    configure(book, max_concurrent_jobs="3")

    assert "at most 3 jobs" in text(explain(registry, 1, NOW), Cause.LIMIT)


def test_interactive_jobs_run_in_their_session(book: Book, registry: Registry) -> None:
    book.queue([1])
    configure(book, pools='[{"kind": "Interactive"}]')

    assert causes(explain(registry, 1, NOW)) == [Cause.QUEUED, Cause.IN_SESSION]


def test_a_running_job_tells_where_and_whether_that_agent_is_gone(
    book: Book, registry: Registry
) -> None:
    book.queue([1])
    add_agent(book)
    book.feed([1], agent="a1")
    with book.database.write() as tx:
        note_running(tx, "a1", [(1, 1, NOW - 65, NO_PART)])
    running = explain(registry, 1, NOW)
    with book.database.write() as tx:
        tx.execute("end_agent", "lost", NOW, "a1")

    assert running.state == "running"
    assert running.reasons[0].text == "it runs at agent a1 for 1 min 5 s, attempt 1"
    assert causes(running) == [Cause.RUNNING, Cause.NO_COORDINATOR]
    assert Cause.AGENT_GONE in causes(explain(registry, 1, NOW))


def test_lost_attempts_are_told_with_how_their_slots_died(book: Book, registry: Registry) -> None:
    book.queue([1])
    book.feed([1], agent="a1")
    row = (1, 1, Outcome.LOST, Reason.SIGNAL, 0, 0, 1.0, 2.0, NO_PART, 0.0)
    with book.database.paths.results("a1").open("ab") as segment:
        segment.write(pack_row(row, b""))
    with book.database.write() as tx:
        charge(tx, np.array([1]), Applied())
        charge(tx, np.array([1]), Applied())

    told = text(explain(registry, 1, NOW), Cause.LOST)

    assert told == "lost 2 times (attempt 1 at agent a1: signal; with its agent)"


def test_what_has_ended_tells_how_and_where(lecture: HandMade) -> None:
    hand = lecture
    hand.submit([2, 3])
    hand.error(2, "too  many\nwords")
    hand.expired(3, "walltime of 5 s")

    done, error, expired = (explain(hand.registry, job, time.time()) for job in (1, 2, 3))

    assert [told.state for told in (done, error, expired)] == ["done", "error", "expired"]
    assert done.reasons[0].text == "it is done: ran 1.2 s, attempt 1, at agent a1"
    assert error.reasons[0].text.startswith("its function raised ValueError: too many words (ran")
    assert expired.reasons[0].text.startswith("it expired: walltime of 5 s")
    assert error.reasons[0].remedy == f"batchpilot log {hand.registry.file_dir} 2"


def test_a_pool_for_other_jobs_is_no_agent_for_this_one(book: Book, registry: Registry) -> None:
    configure(book, pools='[{"kind": "Local", "slots": 2, "name": "other"}]')
    book.queue([1])
    add_agent(book)

    assert Cause.NO_AGENT in causes(explain(registry, 1, NOW))
    assert isinstance(registry.pools[0], pools.Local)
    assert book.states()[0] is State.QUEUED
