"""The database: transactions that are whole, and fail for whoever does not own it any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.core.book import Book

from batchpilot.errors import (
    OwnershipLost,
    RegistryBusy,
    RegistryDamaged,
    RegistryMissing,
    StorageError,
)
from batchpilot.store import database as module
from batchpilot.store.database import Database, create
from batchpilot.store.owner import read_owner, write_owner
from batchpilot.store.pages import State


@pytest.fixture
def second(database: Database) -> Iterator[Database]:
    """Open the same database once more, as another process does."""
    other = Database(database.paths)
    yield other
    other.close()


def term_of(database: Database) -> int:
    with database.read() as tx:
        return int(tx.meta("term"))


def test_a_transaction_that_fails_leaves_nothing(book: Book) -> None:
    book.define(3)

    with pytest.raises(ZeroDivisionError), book.database.write() as tx:  # noqa: PT012 - it has to fail in the middle
        tx.set_meta("colour", "red")
        tx.pages.put("state", np.array([1, 2]), State.DONE)
        tx.pages.flush()
        1 / 0  # noqa: B018 - as said

    assert book.states() == [State.DEFINED] * 3
    with book.database.read() as tx:
        assert tx.meta("colour") is None


def test_pages_are_written_with_the_commit(book: Book, second: Database) -> None:
    book.define(3)
    with book.database.write() as tx:
        tx.pages.put("state", np.array([2]), State.DONE)
        with second.read() as other:
            assert other.pages.take("state", np.array([2])).tolist() == [State.DEFINED]

    with second.read() as other:
        assert other.pages.take("state", np.array([2])).tolist() == [State.DONE]


def test_a_view_does_not_change_while_it_is_used(database: Database, second: Database) -> None:
    with database.read() as view:
        assert view.meta("colour") is None
        with second.write() as tx:
            tx.set_meta("colour", "red")
        assert view.meta("colour") is None
    with database.read() as view:
        assert view.meta("colour") == "red"


def test_a_change_by_another_connection_is_seen_in_the_version(
    database: Database, second: Database
) -> None:
    before = database.data_version()
    assert database.data_version() == before

    with second.write() as tx:
        tx.set_meta("colour", "red")

    assert database.data_version() != before


def test_a_coordinator_of_an_older_term_writes_nothing(
    database: Database, second: Database
) -> None:
    database.term = term_of(database)
    with second.write() as tx:
        tx.set_meta("term", database.term + 1)

    with pytest.raises(OwnershipLost, match="has replaced this one") as caught, database.write():
        pytest.fail("the transaction must not begin")

    assert caught.value.remedy


def test_a_session_writes_whatever_the_term(database: Database, second: Database) -> None:
    with second.write() as tx:
        tx.set_meta("term", 77)

    with database.write() as tx:
        tx.set_meta("colour", "red")

    assert term_of(database) == 77


def test_nobody_writes_into_a_database_that_was_taken_over(database: Database) -> None:
    owner = read_owner(database.paths)
    write_owner(database.paths, replace(owner, host="node9", database="registry-2.db"))

    with pytest.raises(OwnershipLost, match="taken over by node9"), database.write():
        pytest.fail("the transaction must not begin")


def test_an_owner_file_that_is_renewed_loses_nothing(database: Database) -> None:
    write_owner(database.paths, replace(read_owner(database.paths), heartbeat=1.0))

    with database.write() as tx:
        tx.set_meta("colour", "red")


def test_a_registry_without_its_owner_file_is_missing(database: Database) -> None:
    database.paths.owner.unlink()

    with pytest.raises(RegistryMissing), database.write():
        pytest.fail("the transaction must not begin")


def test_a_lock_that_is_held_too_long_is_an_error_with_a_remedy(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with (
        closing(Database(database.paths)) as hasty,
        database.write(),
        pytest.raises(RegistryBusy, match="locked") as caught,
        hasty.write(),
    ):
        pytest.fail("the transaction must not begin")

    assert caught.value.remedy


def test_a_database_opened_for_reading_cannot_be_written(database: Database) -> None:
    with (
        closing(Database(database.paths, writeable=False)) as reader,
        pytest.raises(StorageError),
        reader.write() as tx,
    ):
        tx.set_meta("colour", "red")


def test_a_missing_database_is_a_missing_registry(database: Database) -> None:
    database.path.rename(database.path.with_suffix(".away"))

    with pytest.raises(RegistryMissing, match=r"registry-1\.db"):
        Database(database.paths)


def test_bytes_that_are_no_database_are_damage(database: Database) -> None:
    database.path.write_bytes(b"no database at all" * 100)

    with pytest.raises(RegistryDamaged, match="cannot be read") as caught:
        Database(database.paths)

    assert "repair" in caught.value.remedy


def test_another_format_is_refused(database: Database) -> None:
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(RegistryDamaged, match="format 99"):
        Database(database.paths)


@pytest.mark.parametrize(("network", "mode"), [(False, "wal"), (True, "persist")])
def test_only_a_local_disk_gets_a_write_ahead_log(tmp_path: Path, network: bool, mode: str) -> None:
    path = tmp_path / "new.db"
    create(path, network=network)

    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute("PRAGMA journal_mode").fetchone()[0]
    assert path.stat().st_mode & 0o777 == 0o600
    assert (kept == "wal") is (mode == "wal")


def test_the_two_newest_backups_are_kept_and_whole(book: Book) -> None:
    book.define(3)
    for stamp in (1, 2, 3):
        book.database.back_up(stamp)

    kept = sorted(book.database.paths.backup.iterdir())
    assert [path.name for path in kept] == ["registry-2.db", "registry-3.db"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept)
    with closing(Database(book.database.paths, kept[1], writeable=False)) as copy:
        assert Book(copy).states() == [State.DEFINED] * 3
