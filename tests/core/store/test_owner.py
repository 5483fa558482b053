"""The office of the coordinator: one holder at a time, each in a term of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from batchpilot.errors import AlreadyOwned, OwnershipLost, RegistryDamaged, RegistryMissing
from batchpilot.store.database import Database
from batchpilot.store.owner import Office, read_owner, write_owner
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import boot_id, host_name, process_start


@contextmanager
def somebody() -> Iterator[int]:
    """Give the pid of a process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def hold(database: Database, pid: int, start: int, boot: str) -> None:
    """Write down who holds the office."""
    with database.write() as tx:
        tx.set_meta("owner_pid", pid)
        tx.set_meta("owner_start", start)
        tx.set_meta("owner_boot", boot)


def test_taking_office_raises_the_term_and_says_who_holds_it(database: Database) -> None:
    before = read_owner(database.paths).term
    term = Office(database.paths, database).take()

    owner = read_owner(database.paths)
    assert term == database.term == owner.term == before + 1
    assert (owner.host, owner.pid) == (host_name(), os.getpid())
    assert owner.coordinator_alive
    assert owner.heartbeat > 0


def test_a_predecessor_writes_nothing_any_more(database: Database) -> None:
    with closing(Database(database.paths)) as old:
        Office(database.paths, old).take()
        Office(database.paths, database).take()

        with pytest.raises(OwnershipLost), old.write():
            pytest.fail("the transaction must not begin")


def test_a_coordinator_that_lives_is_never_replaced(database: Database) -> None:
    before = read_owner(database.paths).term
    with somebody() as pid:
        hold(database, pid, process_start(pid), boot_id())
        with pytest.raises(AlreadyOwned, match=f"process {pid}") as caught:
            Office(database.paths, database).take()

    assert caught.value.remedy
    with database.read() as tx:
        assert tx.meta("term") == before


@pytest.mark.parametrize("what", ["dead", "pid reused", "before a reboot"])
def test_a_holder_that_is_gone_is_replaced(database: Database, what: str) -> None:
    with somebody() as pid:
        start = process_start(pid)
        if what != "dead":
            old = (start - 1, boot_id()) if what == "pid reused" else (start, "another boot")
            hold(database, pid, *old)
            assert Office(database.paths, database).take() == 2
    if what == "dead":
        hold(database, pid, start, boot_id())
        assert Office(database.paths, database).take() == 2


def test_an_office_that_was_left_is_empty(database: Database) -> None:
    office = Office(database.paths, database)
    office.take()
    office.beat(metrics="127.0.0.1:9")
    assert read_owner(database.paths).metrics == "127.0.0.1:9"

    office.leave()

    owner = read_owner(database.paths)
    assert not owner.coordinator_alive
    assert (owner.pid, owner.metrics) == (0, "")


def test_whether_a_coordinator_of_another_host_lives_is_not_known_here(database: Database) -> None:
    Office(database.paths, database).take()
    write_owner(database.paths, replace(read_owner(database.paths), host="node9"))

    assert not read_owner(database.paths).coordinator_alive


def test_a_field_of_a_newer_version_is_passed_over(database: Database) -> None:
    record = read_json(database.paths.owner)
    assert record is not None
    write_json(database.paths.owner, {**record, "colour": "red"})

    assert read_owner(database.paths).instance == record["instance"]


def test_a_record_that_lacks_fields_is_damage(database: Database) -> None:
    write_json(database.paths.owner, {"id": "x"})

    with pytest.raises(RegistryDamaged, match="damaged"):
        read_owner(database.paths)


def test_no_record_is_no_registry(database: Database) -> None:
    database.paths.owner.unlink()

    with pytest.raises(RegistryMissing):
        read_owner(database.paths)
