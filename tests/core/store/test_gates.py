"""Gates: what waits, what is let go, what is doomed, and that nothing waits in a circle."""

from __future__ import annotations

import numpy as np
import pytest
from tests.core.book import Book, array

from batchpilot.store.changing import revoke
from batchpilot.store.gates import Gate, doomed, hold, judge, moved, read_gate, settle, states_of
from batchpilot.store.pages import State
from batchpilot_broker.nouns import Outcome


def gated(book: Book, ids: list[int], after: list[int]) -> int:
    """Queue jobs behind others."""
    number = book.queue(ids)
    with book.database.write() as tx:
        hold(tx, number, array(after))
    return number


def settled(book: Book) -> None:
    with book.database.write() as tx:
        settle(tx)


def gate(book: Book, submission: int) -> Gate:
    with book.database.read() as tx:
        found = read_gate(tx, submission)
    assert found is not None
    return found


def spans(book: Book, table: str) -> list[tuple[int, int]]:
    """Return (submission, size) of the spans that the feeder has, or that are held."""
    with book.database.read() as tx:
        rows = tx.db.execute(
            f"SELECT submission, size FROM {table} ORDER BY id"  # noqa: S608 - a table of ours
        )
        return list(rows)


def end(book: Book, job: int, outcome: Outcome = Outcome.DONE) -> None:
    book.feed([job])
    book.apply((job, book.column("attempt")[job - 1], outcome))


@pytest.mark.parametrize("live", [State.QUEUED, State.FED, State.RUNNING])
def test_what_is_on_the_system_is_waited_for_and_what_is_done_is_not(live: State) -> None:
    found = judge(array([1, 2, 3]), np.array([State.DONE, live, live], "u1"))

    assert found.left.tolist() == [2, 3]
    assert (found.failed, found.open) == (0, False)


@pytest.mark.parametrize("state", [State.ABSENT, State.DEFINED, State.ERROR, State.EXPIRED])
def test_what_is_anything_else_has_failed(state: State) -> None:
    found = judge(array([1, 2]), np.array([State.QUEUED, state], "u1"))

    assert (found.failed, found.open) == (2, False)


@pytest.mark.parametrize("many", [3, 3000])
def test_states_are_found_of_few_and_of_many_and_of_what_does_not_exist(
    book: Book, many: int
) -> None:
    book.define(many)
    book.queue([2])
    with book.database.read() as tx:
        found = states_of(tx, np.array([-1, 0, *range(1, many + 1), many + 1, 2**40]))

    rest = [State.DEFINED] * (many - 2)
    assert found.tolist() == [0, 0, State.DEFINED, State.QUEUED, *rest, 0, 0]


def test_a_gate_opens_when_the_last_predecessor_is_done(book: Book) -> None:
    book.define(3)
    book.queue([1, 2])
    number = gated(book, [3], [1, 2])
    end(book, 1)
    settled(book)
    assert gate(book, number).left.tolist() == [2]
    assert spans(book, "held_span") == [(number, 1)]

    end(book, 2)
    settled(book)

    assert gate(book, number).open
    assert spans(book, "held_span") == []
    assert (number, 1) in spans(book, "span")


def test_jobs_behind_what_is_done_already_do_not_wait(book: Book) -> None:
    book.define(2)
    book.queue([1])
    end(book, 1)

    number = gated(book, [2], [1])

    assert gate(book, number).open
    assert (number, 1) in spans(book, "span")


def test_nothing_moves_while_nothing_ends(book: Book) -> None:
    book.define(3)
    book.queue([1])
    gated(book, [2], [1])
    end_of_another = book.queue([3])
    end(book, 3)

    with book.database.read() as tx:
        assert moved(tx) == {}
    assert end_of_another


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.EXPIRED])
def test_a_predecessor_that_fails_dooms_what_waits(book: Book, outcome: Outcome) -> None:
    book.define(4)
    book.queue([1, 2])
    number = gated(book, [3, 4], [1, 2])
    end(book, 2, outcome)
    settled(book)

    with book.database.write() as tx:
        found = doomed(tx, 10)
        assert doomed(tx, 10) is None

    assert found is not None
    assert (found.ids.tolist(), found.failed) == ([3, 4], 2)
    assert gate(book, number).failed == 2


def test_the_doomed_are_taken_piece_by_piece_and_the_killed_are_not_among_them(book: Book) -> None:
    book.define(6)
    book.queue([1])
    gated(book, [2, 3, 4, 5, 6], [1])
    with book.database.write() as tx:
        revoke(tx, array([1, 3]))
    settled(book)

    taken = []
    with book.database.write() as tx:
        while (found := doomed(tx, 2)) is not None:
            taken.append(found.ids.tolist())

    assert taken == [[2], [4, 5], [6]]


def test_a_predecessor_taken_back_and_submitted_again_has_failed_all_the_same(book: Book) -> None:
    book.define(2)
    book.queue([1])
    number = gated(book, [2], [1])
    with book.database.write() as tx:
        revoke(tx, array([1]))
    settled(book)
    book.queue([1])
    settled(book)

    assert gate(book, number).failed == 1


def test_what_was_done_and_is_submitted_again_behind_what_waited_for_it_makes_no_circle(
    book: Book,
) -> None:
    """3 waits for 1 and 2; 1 is done, and then submitted again behind 3."""
    book.define(3)
    book.queue([1, 2])
    third = gated(book, [3], [1, 2])
    end(book, 1)
    with book.database.write() as tx:
        settle(tx)
        revoke(tx, array([1]))
    again = gated(book, [1], [3])

    assert gate(book, third).left.tolist() == [2]
    end(book, 2)
    settled(book)
    end(book, 3)
    settled(book)
    assert gate(book, again).open


def test_what_is_let_go_keeps_its_order_and_the_users_chunks(book: Book) -> None:
    book.define(5)
    book.queue([1])
    number = book.queue([5, 4])
    with book.database.write() as tx:
        cuts = array([1, 2]).astype("<u4").tobytes()
        tx.db.execute("UPDATE span SET cuts = ? WHERE submission = ?", (cuts, number))
        tx.execute("add_span", number, "c", 2, 2, None, None)
        hold(tx, number, array([1]))
    end(book, 1)
    settled(book)

    with book.database.read() as tx:
        rows = tx.db.execute(
            "SELECT first, size, cuts FROM span WHERE submission = ? ORDER BY id", (number,)
        ).fetchall()
    assert rows == [(5, 2, cuts), (2, 2, None)]
