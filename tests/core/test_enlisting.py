"""Submissions written: whole or not at all, in order, and behind what they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.core.book import Book, array, open_book

import batchpilot as bp
from batchpilot.errors import NoSuchPool, SubmissionError
from batchpilot.lots import Lot
from batchpilot.registry.enlisting import BLOCK, Entry, enlist, predecessors
from batchpilot.store.changing import revoke
from batchpilot.store.database import Transaction
from batchpilot.store.gates import read_gate
from batchpilot.store.pages import State
from batchpilot_broker.nouns import Outcome, ResourceClass

from .conftest import HandMade


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with open_book(tmp_path / "study") as made:
        yield made


def entry(ids: Sequence[int] | np.ndarray[Any, Any], **more: Any) -> Entry:
    ends = more.pop("ends", None)
    needed = ResourceClass(ncpus=more.pop("ncpus", 1))
    lot = Lot(ids=np.asarray(ids, np.int64), resources={}, ends=ends)
    return Entry(lot=lot, needed=needed, epoch="e", **more)


def write(book: Book, entries: list[Entry], between: Callable[[], None] | None = None) -> int:
    """Write submissions; return in how many transactions."""
    count = 0

    def writing() -> AbstractContextManager[Transaction]:
        nonlocal count
        if count and between is not None:
            between()
        count += 1
        return book.database.write()

    enlist(writing, entries)
    return count


def rows(book: Book, what: str) -> list[tuple[Any, ...]]:
    with book.database.read() as tx:
        return tx.db.execute(what).fetchall()


def test_small_submissions_are_written_together_and_large_ones_in_blocks(book: Book) -> None:
    book.define(BLOCK + 20)
    large = np.arange(11, BLOCK + 21)

    assert write(book, [entry([3, 1, 2]), entry([5, 4], ncpus=2)]) == 1
    assert write(book, [entry(large)]) == 2

    assert rows(book, "SELECT submission, first, size, ids IS NULL FROM span ORDER BY id") == [
        (1, 3, 3, 0),
        (2, 5, 2, 0),
        (3, 11, BLOCK, 1),
        (3, 11 + BLOCK, 10, 1),
    ]
    assert set(book.column("submission")[10:]) == {3}


def test_the_users_chunks_are_kept_whole_over_all_spans(book: Book) -> None:
    book.define(10_000)
    sizes = [3] * 3000 + [1000]
    write(book, [entry(range(10_000, 0, -1), ends=np.cumsum(sizes))])

    cuts = [np.frombuffer(blob, "<u4") for (blob,) in rows(book, "SELECT cuts FROM span")]
    assert [n for ends in cuts for n in np.diff(ends, prepend=0).tolist()] == sizes
    assert rows(book, "SELECT chunked FROM submission") == [(1,)]


def test_jobs_taken_meanwhile_leave_nothing_half_written(book: Book) -> None:
    book.define(BLOCK + 5)
    book.queue([BLOCK + 5])

    with pytest.raises(SubmissionError, match="another session has taken 1"):
        write(book, [entry(range(1, BLOCK + 6))])

    assert set(book.column("state")[: BLOCK + 4]) == {State.DEFINED}


def test_each_submission_waits_for_all_predecessors_that_are_not_done(book: Book) -> None:
    book.define(6)
    book.queue([1, 2])
    book.feed([1])
    book.apply((1, 1, Outcome.DONE))
    after = array([1, 2])

    write(book, [entry([3, 4], after=after), entry([5], ncpus=2, after=after)])

    with book.database.read() as tx:
        gates = [read_gate(tx, number) for number in (2, 3)]
    assert [gate and gate.left.tolist() for gate in gates] == [[2], [2]]
    assert rows(book, "SELECT submission FROM span ORDER BY id") == [(1,)]
    assert rows(book, "SELECT submission, size FROM held_span ORDER BY id") == [(2, 2), (3, 1)]


def test_what_opens_between_two_blocks_holds_no_later_block(book: Book) -> None:
    jobs = BLOCK + 10
    book.define(jobs)
    book.queue([1])

    def end() -> None:
        book.feed([1])
        book.apply((1, 1, Outcome.DONE))

    write(book, [entry(range(2, jobs + 1), after=array([1]))], between=end)

    held = rows(book, "SELECT SUM(size) FROM held_span")
    spans = rows(book, "SELECT SUM(size) FROM span WHERE submission = 2")
    assert held == [(None,)]
    assert spans == [(jobs - 1,)]


def test_what_fails_between_two_blocks_dooms_the_later_ones_too(book: Book) -> None:
    jobs = BLOCK + 10
    book.define(jobs)
    book.queue([1])

    def end() -> None:
        with book.database.write() as tx:
            revoke(tx, array([1]))

    write(book, [entry(range(2, jobs + 1), after=array([1]))], between=end)

    assert rows(book, "SELECT SUM(size) FROM held_span") == [(jobs - 1,)]
    assert rows(book, "SELECT failed FROM gate") == [(1,)]


@pytest.fixture
def standing(book: Book) -> Iterator[Transaction]:
    """Jobs 1 queued, 2 done, 3 defined, 4 in error, 5 expired."""
    book.define(5)
    book.queue([1, 2, 4, 5])
    book.feed([2, 4, 5])
    ends = ((2, Outcome.DONE), (4, Outcome.ERROR), (5, Outcome.EXPIRED))
    book.apply(*((job, 1, outcome) for job, outcome in ends))
    with book.database.read() as tx:
        yield tx


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (3, "it is not submitted"),
        (4, "it ended in an error"),
        (5, "it has expired"),
        (6, "it does not exist"),
        (5000, "it does not exist"),
        (0, "it does not exist"),
    ],
)
def test_what_will_never_be_done_cannot_be_waited_for(
    standing: Transaction, job: int, why: str
) -> None:
    with pytest.raises(SubmissionError) as caught:
        predecessors(standing, [1, job], array([9]))

    assert caught.value.message == f"job {job} cannot be waited for: {why}"
    assert caught.value.remedy


def test_a_job_cannot_wait_for_itself(standing: Transaction) -> None:
    with pytest.raises(SubmissionError, match="job 2 cannot wait for itself"):
        predecessors(standing, [1, 2], array([2, 3]))


def test_predecessors_are_whatever_holds_ids(standing: Transaction) -> None:
    for after in ([2, 1], bp.JobIds([1, 2]), pd.DataFrame({"job_id": [1, 2]}), range(1, 3)):
        assert predecessors(standing, after, array([9])).tolist() == [1, 2]
    assert predecessors(standing, 1, array([9])).tolist() == [1]
    assert predecessors(standing, None, array([9])).tolist() == []


CALLS: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"retries": {"gpu": 1}}, SubmissionError),
    ({"resources": {"memory": 600}, "retries": {"memory": 1}}, NoSuchPool),
    ({"after": [9]}, SubmissionError),
    ({"after": [1]}, SubmissionError),
    ({"ids": pd.DataFrame({"job_id": [1, 2], "memory": [10, 5000]})}, NoSuchPool),
    ({"ids": pd.DataFrame({"job_id": [1, 2], "ncpus": [1, 0]})}, SubmissionError),
    ({"ids": pd.DataFrame({"job_id": [1, 2], "chunk": [1, 1], "gpus": 0})}, SubmissionError),
]


@pytest.mark.parametrize(("call", "error"), CALLS, ids=str)
def test_what_is_refused_leaves_everything_as_it_was(
    hand_made: Callable[..., HandMade], call: dict[str, Any], error: type[Exception]
) -> None:
    registry = hand_made().registry
    registry.pools = bp.pools.Local(slots=1, resources={"memory": 1000})

    with pytest.raises(error):
        registry.submit_jobs(**{"ids": [1, 2], "max_concurrent_jobs": 3, **call})

    assert len(registry.find_not_submitted()) == 10
    assert registry.max_concurrent_jobs is None
    with registry.database.read() as tx:
        assert tx.all("submissions") == []
        assert tx.all("all_classes") == []
