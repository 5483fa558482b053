"""Databases of registries, for tests of what is kept in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.core.book import Book, open_book

from batchpilot.store.database import Database


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with open_book(tmp_path / "registry") as book:
        yield book


@pytest.fixture
def database(book: Book) -> Database:
    return book.database


@pytest.fixture
def new_book(tmp_path: Path) -> Iterator[Callable[[], Book]]:
    """Give a function that makes an empty book, for the examples of a property."""
    with ExitStack() as stack:
        made: list[Book] = []

        def make() -> Book:
            made.append(stack.enter_context(open_book(tmp_path / f"registry{len(made)}")))
            return made[-1]

        yield make
