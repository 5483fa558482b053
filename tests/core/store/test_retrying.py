"""Further tries: under which submission, class and resources failed jobs go on, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import pytest
from tests.core.book import Book, array, event_rows

from batchpilot.classes import class_id
from batchpilot.store.changing import Applied, apply_rows, revoke
from batchpilot.store.pages import State, unpack_ranges
from batchpilot.store.replay import segment_of
from batchpilot.store.retrying import Failure, failures_of, tries_of
from batchpilot_broker.nouns import Outcome, Reason, ResourceClass


LIMITED = ResourceClass(memory=1000.0, walltime=60.0)
SHOWN = {"memory": 1000, "walltime": 60}

ERROR = (Outcome.ERROR, Reason.NONE)
MEMORY = (Outcome.EXPIRED, Reason.MEMORY)
WALLTIME = (Outcome.EXPIRED, Reason.WALLTIME)


def submitted(book: Book, retries: Mapping[str, int], jobs: int = 3) -> int:
    """Define, submit and hand out jobs that may be tried again."""
    book.define(jobs)
    number = book.queue(range(1, jobs + 1), LIMITED)
    with book.database.write() as tx:
        tx.db.execute(
            "UPDATE submission SET retries = ?, resources = ? WHERE id = ?",
            (msgpack.packb(dict(retries)), msgpack.packb(SHOWN), number),
        )
    book.feed(range(1, jobs + 1))
    return number


def fail(book: Book, job: int, how: tuple[Outcome, Reason], attempt: int = 1) -> Applied:
    """Apply the record of a failure."""
    rows = event_rows((job, attempt, how[0])).copy()
    rows["reason"] = how[1]
    applied = Applied()
    with book.database.write() as tx:
        apply_rows(tx, segment_of(tx, "a1.results", "a1")[0], rows, applied)
    return applied


def submission_of(book: Book, job: int) -> tuple[str, dict[str, Any], dict[str, int]]:
    """Return the class, the resources and the retries of a job's submission."""
    with book.database.read() as tx:
        row = tx.execute("read_submission", book.column("submission")[job - 1]).fetchone()
    return row[1], msgpack.unpackb(row[3]), msgpack.unpackb(row[5])


def test_failures_are_told_by_outcome_and_reason() -> None:
    rows = event_rows(*[(1, 1, outcome) for outcome, _ in (ERROR, MEMORY, WALLTIME)]).copy()
    rows["reason"] = [0, Reason.MEMORY, Reason.WALLTIME]
    others = event_rows((1, 1, Outcome.DONE), (1, 1, Outcome.LOST), (1, 1, Outcome.EXPIRED)).copy()
    others["reason"] = [0, Reason.MEMORY, Reason.PREDECESSOR]

    assert [tuple(Failure)[at] for at in failures_of(rows)] == list(Failure)
    assert failures_of(others).tolist() == [len(Failure)] * 3


def test_an_error_is_tried_again_as_it_is_and_counted_down(book: Book) -> None:
    submitted(book, {"error": 2, "memory": 1})

    applied = fail(book, 2, ERROR)

    assert book.states() == [State.FED, State.QUEUED, State.FED]
    assert submission_of(book, 2) == (class_id(LIMITED), SHOWN, {"error": 1, "memory": 1})
    assert book.again() == [(False, [2])]
    assert (applied.retried, applied.requeued, applied.ignored) == (1, 0, 0)
    assert applied.ended == []


@pytest.mark.parametrize(("how", "name"), [(MEMORY, "memory"), (WALLTIME, "walltime")])
def test_a_limit_that_was_exceeded_is_doubled(
    book: Book, how: tuple[Outcome, Reason], name: str
) -> None:
    submitted(book, {name: 2})
    fail(book, 1, how)
    book.feed([1])

    fail(book, 1, how, attempt=2)

    four_times: dict[str, Any] = {name: 4.0 * SHOWN[name]}
    needed = ResourceClass(**{"memory": 1000.0, "walltime": 60.0, **four_times})
    assert submission_of(book, 1) == (class_id(needed), {**SHOWN, **four_times}, {})
    with book.database.read() as tx:
        wire = tx.execute("read_class", class_id(needed)).fetchone()[0]
        assert tries_of(tx, book.column("submission")[0]) == [name, name]
    assert ResourceClass.from_wire(msgpack.unpackb(wire)) == needed


def test_without_a_try_left_a_failure_is_the_end(book: Book) -> None:
    submitted(book, {"error": 1})
    fail(book, 1, ERROR)
    book.feed([1])

    applied = fail(book, 1, ERROR, attempt=2)

    assert book.states()[0] is State.ERROR
    assert [rows["job"].tolist() for rows in applied.ended] == [[1]]


def test_only_the_failures_that_are_named_are_tried_again(book: Book) -> None:
    submitted(book, {"memory": 1})
    fail(book, 1, ERROR)
    fail(book, 2, WALLTIME)
    fail(book, 3, MEMORY)

    assert book.states() == [State.ERROR, State.EXPIRED, State.QUEUED]


def test_jobs_that_fail_alike_share_one_submission(book: Book) -> None:
    first = submitted(book, {"error": 1, "memory": 1}, jobs=4)
    for job, how in enumerate((ERROR, MEMORY, ERROR, MEMORY), 1):
        fail(book, job, how)

    numbers = book.column("submission")
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]
    assert first not in numbers


def test_the_failed_attempt_is_revoked_with_an_order_for_its_tombstone(book: Book) -> None:
    submitted(book, {"error": 1})
    fail(book, 1, ERROR)

    with book.database.read() as tx:
        orders = [(unpack_ranges(ids).tolist(), floor) for _, ids, floor in tx.all("all_cancels")]
    assert orders == [([1], 1)]
    assert book.column("floor") == [1, 0, 0]
    assert book.apply((1, 1, Outcome.DONE)).ignored == 1


def test_a_late_error_of_an_older_attempt_revokes_the_attempt_under_way(book: Book) -> None:
    submitted(book, {"error": 1})
    book.apply((1, 1, Outcome.LOST))
    book.feed([1])

    fail(book, 1, ERROR, attempt=1)

    assert book.column("floor")[0] == 2
    assert book.states()[0] is State.QUEUED


def test_losses_begin_anew_with_a_further_try(book: Book) -> None:
    submitted(book, {"error": 1})
    book.apply((1, 1, Outcome.LOST))
    book.feed([1])
    fail(book, 1, ERROR, attempt=2)

    assert book.column("charged")[0] == 0


def test_a_resubmission_forgets_the_tries(book: Book) -> None:
    submitted(book, {"error": 1})
    fail(book, 1, ERROR)
    with book.database.write() as tx:
        revoke(tx, array([1]))
    book.queue([1])
    book.feed([1])

    fail(book, 1, ERROR, attempt=2)

    assert book.states()[0] is State.ERROR
