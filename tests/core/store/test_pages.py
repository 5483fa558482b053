"""Pages: columns of job states, and ranges of ids."""

from __future__ import annotations

import sqlite3
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.book import Book

from batchpilot.store.database import Database
from batchpilot.store.pages import (
    COLUMNS,
    PAGE,
    Pages,
    State,
    ids_of,
    pack_ranges,
    ranges_of,
    read_column,
    unpack_ranges,
)


IDS = st.lists(st.integers(1, 2**32 - 1), max_size=60)
RUNS = st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 40)), max_size=20)


@given(IDS)
def test_ids_in_any_order_come_back_from_their_ranges(ids: list[int]) -> None:
    array = np.array(ids, np.int64)

    assert ids_of(ranges_of(array)).tolist() == ids
    assert unpack_ranges(pack_ranges(array)).tolist() == ids


@given(RUNS)
def test_ranges_are_as_few_as_the_order_allows(runs: list[tuple[int, int]]) -> None:
    ids = [job for first, size in runs for job in range(first, first + size)]
    breaks = sum(b != a + 1 for a, b in pairwise(ids))

    assert len(ranges_of(np.array(ids, np.int64))) == (breaks + 1 if ids else 0)


@given(
    st.lists(st.integers(1, 3 * PAGE), min_size=1, max_size=50, unique=True),
    st.lists(st.integers(0, 255), min_size=50, max_size=50),
)
def test_what_is_put_is_taken_in_the_order_asked(ids: list[int], values: list[int]) -> None:
    connection = sqlite3.connect(":memory:")
    columns = ", ".join(f"{name} BLOB" for name in COLUMNS)
    connection.execute(f"CREATE TABLE page (k INTEGER PRIMARY KEY, {columns})")
    asked, given_values = np.array(ids), np.array(values[: len(ids)])
    pages = Pages(connection)

    pages.put("floor", asked, given_values)
    pages.flush()
    taken = Pages(connection).take("floor", asked[::-1])
    connection.close()

    assert taken.tolist() == given_values[::-1].tolist()


def test_a_column_of_all_jobs_is_as_long_as_there_are_jobs(book: Book) -> None:
    book.define(2 * PAGE + 5)

    assert book.column("state") == [State.DEFINED] * (2 * PAGE + 5)
    assert book.column("attempt") == [0] * (2 * PAGE + 5)


def test_a_change_across_pages_stands_in_the_pages_it_concerns(book: Book) -> None:
    book.define(3 * PAGE)
    with book.database.write() as tx:
        tx.pages.put("charged", np.array([PAGE, PAGE + 1]), 2)

    charged = book.column("charged")
    assert [i + 1 for i, n in enumerate(charged) if n] == [PAGE, PAGE + 1]


def test_a_page_that_was_never_written_is_empty(database: Database) -> None:
    with database.read() as tx:
        assert tx.pages.take("state", np.array([7, 9 * PAGE])).tolist() == [State.ABSENT] * 2


def test_a_column_nobody_knows_is_refused(database: Database) -> None:
    with database.read() as tx, pytest.raises(KeyError):
        read_column(tx.db, "colour")  # type: ignore[arg-type]  # what is tested
