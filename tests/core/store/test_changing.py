"""The rules of attempts: what a record does to its job, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.book import Book, array

from batchpilot.store.changing import (
    MAX_ATTEMPTS,
    MAX_PLANNED_ENDS,
    end_chunk,
    give_back,
    note_running,
    queue_again,
    revoke,
)
from batchpilot.store.pages import State, unpack_ranges
from batchpilot_broker.frames import NO_PART
from batchpilot_broker.nouns import Outcome


DONE, ERROR, EXPIRED, LOST = Outcome.DONE, Outcome.ERROR, Outcome.EXPIRED, Outcome.LOST


def fed(book: Book, jobs: int = 4) -> Book:
    """Define, submit and hand out jobs under attempt 1."""
    book.define(jobs)
    book.submit(range(1, jobs + 1))
    book.feed(range(1, jobs + 1))
    return book


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(DONE, State.DONE), (ERROR, State.ERROR), (EXPIRED, State.EXPIRED)],
)
def test_a_record_ends_its_job(book: Book, outcome: Outcome, state: State) -> None:
    applied = fed(book).apply((2, 1, outcome))

    assert book.states() == [State.FED, state, State.FED, State.FED]
    assert [rows["job"].tolist() for rows in applied.ended] == [[2]]
    assert applied.ignored == 0


def test_the_first_record_wins_and_others_are_counted(book: Book) -> None:
    fed(book).apply((1, 1, DONE))

    applied = book.apply((1, 1, ERROR), (1, 1, LOST))

    assert book.states()[0] is State.DONE
    assert applied.ignored == 2
    assert applied.ended == []


def test_of_two_records_of_a_job_in_one_batch_the_first_wins(book: Book) -> None:
    applied = fed(book).apply((1, 1, ERROR), (2, 1, DONE), (1, 1, DONE))

    assert book.states()[:2] == [State.ERROR, State.DONE]
    assert applied.ignored == 1


def test_a_late_record_of_an_older_attempt_wins_and_its_rival_is_named(book: Book) -> None:
    fed(book, 2).apply((1, 1, LOST))
    book.feed([1])

    applied = book.apply((1, 1, DONE))

    assert book.states()[0] is State.DONE
    assert [rivals.tolist() for rivals in applied.rivals] == [[1]]


def test_a_record_of_a_revoked_attempt_is_ignored(book: Book) -> None:
    fed(book)
    with book.database.write() as tx:
        revoke(tx, array([1, 2]))

    applied = book.apply((1, 1, DONE), (2, 1, ERROR), (3, 1, DONE))

    assert book.states() == [State.DEFINED, State.DEFINED, State.DONE, State.FED]
    assert applied.ignored == 2


def test_a_revoked_job_submitted_again_takes_only_its_new_attempt(book: Book) -> None:
    fed(book)
    with book.database.write() as tx:
        revoke(tx, array([1]))
    book.submit([1])
    book.feed([1])

    assert book.apply((1, 1, ERROR)).ignored == 1
    assert book.states()[0] is State.FED
    book.apply((1, 2, DONE))
    assert book.states()[0] is State.DONE


def test_revoking_leaves_an_order_for_what_was_handed_out(book: Book) -> None:
    fed(book)
    with book.database.write() as tx:
        revoke(tx, array([1, 2, 4]))
        orders = tx.all("all_cancels")

    assert [(unpack_ranges(blob).tolist(), floor) for _, blob, floor in orders] == [([1, 2, 4], 1)]


def test_what_was_never_handed_out_is_revoked_without_an_order(book: Book) -> None:
    book.define(2)
    book.submit([1, 2])
    with book.database.write() as tx:
        revoke(tx, array([1, 2]))
        assert tx.all("all_cancels") == []

    assert book.states() == [State.DEFINED] * 2


def test_records_of_strangers_and_of_attempts_never_made_are_ignored(book: Book) -> None:
    applied = fed(book).apply((0, 1, DONE), (99, 1, DONE), (2**32 - 1, 1, DONE), (1, 7, DONE))

    assert applied.ignored == 4
    assert book.states() == [State.FED] * 4


def test_a_lost_job_is_queued_again_alone_and_charged(book: Book) -> None:
    applied = fed(book).apply((3, 1, LOST))

    assert book.states()[2] is State.QUEUED
    assert book.column("charged") == [0, 0, 1, 0]
    assert book.again() == [(True, [3])]
    assert applied.requeued == 1


def test_the_third_charged_loss_expires_a_job(book: Book) -> None:
    fed(book, 1)
    for attempt in range(1, MAX_ATTEMPTS):
        book.apply((1, attempt, LOST))
        assert book.states() == [State.QUEUED]
        book.feed([1])

    applied = book.apply((1, MAX_ATTEMPTS, LOST))

    assert book.states() == [State.EXPIRED]
    assert [rows["job"].tolist() for rows in applied.ended] == [[1]]


def test_a_loss_of_an_older_attempt_charges_nothing(book: Book) -> None:
    fed(book, 1).apply((1, 1, LOST))
    book.feed([1])

    assert book.apply((1, 1, LOST)).ignored == 1
    assert book.column("charged") == [1]
    assert book.states() == [State.FED]


def test_a_resubmission_forgets_what_was_charged(book: Book) -> None:
    fed(book, 1).apply((1, 1, LOST))
    with book.database.write() as tx:
        revoke(tx, array([1]))

    assert book.column("charged") == [0]
    assert book.column("attempt") == [1]
    assert book.column("floor") == [1]


def test_jobs_handed_back_are_queued_in_their_order_and_not_charged(book: Book) -> None:
    fed(book)
    with book.database.write() as tx:
        never = give_back(tx, array([4, 2, 3]), 1, planned=False)

    assert never.tolist() == []
    assert book.states() == [State.FED, *[State.QUEUED] * 3]
    assert book.column("charged") == [0] * 4
    assert book.again() == [(False, [4, 2, 3])]


def test_only_jobs_held_under_that_attempt_can_be_handed_back(book: Book) -> None:
    fed(book).apply((1, 1, DONE), (2, 1, LOST))
    book.feed([2])
    with book.database.write() as tx:
        give_back(tx, array([1, 2, 3]), 1, planned=False)

    assert book.states() == [State.DONE, State.FED, State.QUEUED, State.FED]


def test_the_tenth_planned_end_tells_that_a_job_never_fits(book: Book) -> None:
    fed(book, 1)
    for attempt in range(1, MAX_PLANNED_ENDS + 1):
        assert book.states() == [State.FED]
        with book.database.write() as tx:
            never = give_back(tx, array([1]), attempt, planned=True)
        assert never.tolist() == ([1] if attempt == MAX_PLANNED_ENDS else [])
        if attempt < MAX_PLANNED_ENDS:
            book.feed([1])

    assert book.column("charged") == [0]


def test_jobs_that_had_not_begun_can_be_handed_back_for_ever(book: Book) -> None:
    fed(book, 1)
    for attempt in range(1, 2 * MAX_PLANNED_ENDS):
        with book.database.write() as tx:
            assert not len(give_back(tx, array([1]), attempt, planned=False))
        book.feed([1])

    assert book.states() == [State.FED]


def test_the_end_of_a_chunk_queues_what_nobody_accounted_for(book: Book) -> None:
    fed(book).apply((1, 1, DONE), (2, 1, LOST))
    with book.database.write() as tx:
        assert end_chunk(tx, 1).tolist() == [3, 4]
        assert end_chunk(tx, 1).tolist() == []

    assert book.states() == [State.DONE, *[State.QUEUED] * 3]


def test_jobs_of_two_submissions_are_queued_again_under_their_own(book: Book) -> None:
    book.define(4)
    first, second = book.submit([1, 2]), book.submit([3, 4])
    book.feed([1, 2, 3, 4])
    with book.database.write() as tx:
        queue_again(tx, array([1, 2, 3, 4]), alone=False)
        rows = tx.db.execute("SELECT submission, ranges FROM again ORDER BY id").fetchall()

    assert [(n, unpack_ranges(blob).tolist()) for n, blob in rows] == [
        (first, [1, 2]),
        (second, [3, 4]),
    ]


def test_a_running_job_is_noted_and_its_log_only_grows(book: Book) -> None:
    fed(book)
    with book.database.write() as tx:
        note_running(tx, "a1", [(2, 1, 5.0, NO_PART), (3, 1, 5.0, 100)])
        note_running(tx, "a1", [(2, 1, 5.0, 40), (3, 1, 5.0, NO_PART)])
        rows = tx.all("all_running")

    assert book.states() == [State.FED, State.RUNNING, State.RUNNING, State.FED]
    assert rows == [(2, 1, "a1", 5.0, 40), (3, 1, "a1", 5.0, 100)]


def test_a_hint_that_comes_late_changes_nothing(book: Book) -> None:
    fed(book).apply((1, 1, DONE))
    with book.database.write() as tx:
        note_running(tx, "a1", [(1, 1, 5.0, 0), (2, 9, 5.0, 0), (99, 1, 5.0, 0)])
        assert tx.all("all_running") == []

    assert book.states() == [State.DONE, *[State.FED] * 3]


@pytest.mark.parametrize("outcome", [DONE, LOST])
def test_a_job_that_ends_or_is_lost_does_not_run_any_more(book: Book, outcome: Outcome) -> None:
    fed(book)
    with book.database.write() as tx:
        note_running(tx, "a1", [(2, 1, 5.0, 0)])

    book.apply((2, 1, outcome))

    with book.database.read() as tx:
        assert tx.all("all_running") == []


JOBS = 5
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(1, JOBS), st.none()),
        st.tuples(st.just("revoke"), st.integers(1, JOBS), st.none()),
        st.tuples(st.just("back"), st.integers(1, JOBS), st.booleans()),
        st.tuples(
            st.just("rows"),
            st.lists(
                st.tuples(st.integers(0, JOBS + 1), st.integers(0, 4), st.sampled_from(Outcome)),
                max_size=6,
            ),
            st.none(),
        ),
    ),
    max_size=25,
)


def take(book: Book, step: tuple[str, object, object]) -> None:
    """Take a step that coordinator or session might take."""
    match step:
        case ("feed", int(job), _):
            state = book.states()[job - 1]
            if state is State.DEFINED:
                book.submit([job])
            if state in (State.DEFINED, State.QUEUED):
                book.feed([job])
        case ("revoke", int(job), _):
            with book.database.write() as tx:
                revoke(tx, array([job]))
        case ("back", int(job), bool(planned)):
            with book.database.write() as tx:
                give_back(tx, array([job]), book.column("attempt")[job - 1], planned=planned)
        case ("rows", list(rows), _):
            book.apply(*rows)
        case _:
            pytest.fail(f"{step} is no step")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=STEPS)
def test_whatever_comes_the_rules_hold(new_book: Callable[[], Book], steps: list[object]) -> None:
    """Attempts and floors only grow, and an end stays until it is revoked."""
    book = new_book()
    book.define(JOBS)
    before = (book.column("attempt"), book.column("floor"), book.states())
    for step in steps:
        take(book, step)  # type: ignore[arg-type]  # made by the strategy above
        now = (book.column("attempt"), book.column("floor"), book.states())
        revoked = np.array(now[1]) > np.array(before[1])
        assert (np.array(now[0]) >= np.array(before[0])).all()
        assert (np.array(now[1]) >= np.array(before[1])).all()
        assert (np.array(now[1]) <= np.array(now[0])).all()
        for job in range(JOBS):
            if before[2][job] in (State.DONE, State.ERROR, State.EXPIRED) and not revoked[job]:
                assert now[2][job] == before[2][job]
        assert max(book.column("charged")) <= MAX_ATTEMPTS
        before = now
