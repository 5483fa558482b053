"""A takeover: one host alone succeeds, what was committed comes along, and nobody is hasty."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import batchpilot as bp
from batchpilot.errors import AlreadyOwned, OwnershipLost, RegistryDamaged
from batchpilot.store.database import Database, number_of
from batchpilot.store.owner import Office, read_owner, write_owner
from batchpilot.store.snapshots import Snapshot, copy_files, reading
from batchpilot.store.takeover import STILL_SECONDS, Stillness, look, take_over
from batchpilot_broker.host import host_name
from batchpilot_broker.paths import RegistryPaths


@pytest.fixture
def paths(tmp_path: Path) -> RegistryPaths:
    """Give a registry of three jobs that another host owns."""
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        registry.batch_map(abs, x=[-1, -2, -3])
        given_away(registry.paths)
        return registry.paths


def given_away(paths: RegistryPaths) -> None:
    write_owner(paths, replace(read_owner(paths), host="another"))


def test_nobody_opens_the_database_of_another_host(paths: RegistryPaths) -> None:
    for writeable in (True, False):
        with pytest.raises(OwnershipLost, match="another"):
            Database(paths, writeable=writeable)
    assert isinstance(reading(paths), Snapshot)


def test_what_was_committed_comes_along_and_the_old_file_stays(paths: RegistryPaths) -> None:
    old = paths.database(1).read_bytes()
    take_over(paths, look(paths))

    owner = read_owner(paths)
    assert (owner.host, owner.database, owner.pid) == (host_name(), "registry-2.db", 0)
    with bp.load_registry(paths.root) as registry:
        assert registry.find_jobs() == bp.JobIds([1, 2, 3])
        assert Office(paths, registry.database).take() == owner.term + 1
    assert paths.database(1).read_bytes() == old


def test_of_many_that_try_at_once_one_succeeds(paths: RegistryPaths) -> None:
    ready, outcomes, mark = threading.Barrier(8), [], look(paths)

    def try_it() -> None:
        ready.wait()
        try:
            take_over(paths, mark)
        except AlreadyOwned:
            outcomes.append("late")
        else:
            outcomes.append("taken")

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["late"] * 7 + ["taken"]
    assert sorted(number_of(p.name) for p in paths.root.glob("registry-*.db")) == [1, 2]


def test_a_session_of_the_old_owner_writes_no_more(tmp_path: Path) -> None:
    registry = bp.make_registry(tmp_path / "study", seed=1)
    registry.batch_map(abs, x=[-1])
    given_away(registry.paths)
    take_over(registry.paths, look(registry.paths))

    with pytest.raises(OwnershipLost, match="load the registry again"):
        registry.add_job_tags(1, "late")
    registry.close()
    with bp.load_registry(registry.paths.root) as again:
        assert again.get_used_job_tags() == []


def test_what_a_session_writes_on_the_old_host_is_a_sign_of_life(tmp_path: Path) -> None:
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        registry.batch_map(abs, x=[-1])
        clock = [0.0]
        still = Stillness(registry.paths, lambda: clock[0])
        clock[0] = STILL_SECONDS - 0.1
        registry.add_job_tags(1, "in_time")
        assert still.seconds() == 0
        mark = still.mark
        registry.add_job_tags(1, "just_before")
        with pytest.raises(AlreadyOwned, match="its owner lives after all"):
            take_over(registry.paths, mark)

        assert not registry.paths.database(2).exists()
        registry.add_job_tags(1, "after")


def test_the_beat_of_one_who_slept_goes_nowhere(tmp_path: Path) -> None:
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        office = Office(registry.paths, registry.database)
        office.take()
        heart, asleep = office._heart, registry.paths.owner.stat().st_ino
        given_away(registry.paths)
        take_over(registry.paths, look(registry.paths))
        before = registry.paths.owner.read_bytes()

        heart.beat(9e9)
        assert registry.paths.owner.read_bytes() == before
        assert registry.paths.owner.stat().st_ino != asleep
        with pytest.raises(OwnershipLost):
            office.beat()
        assert registry.paths.owner.read_bytes() == before


def test_a_beat_shows_in_the_record_and_leaves_it_whole(tmp_path: Path) -> None:
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        office = Office(registry.paths, registry.database)
        office.take()
        first = read_owner(registry.paths)
        for _ in range(50):
            office.beat()

        last = read_owner(registry.paths)
        assert last.heartbeat >= first.heartbeat > 0
        assert replace(last, heartbeat=0.0) == replace(first, heartbeat=0.0)


def test_a_record_that_a_zombie_has_put_back_is_put_right_by_the_next_beat(
    tmp_path: Path,
) -> None:
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        zombie = read_owner(registry.paths)
        given_away(registry.paths)
    take_over(registry.paths, look(registry.paths))
    with closing(Database(registry.paths)) as database:
        office = Office(registry.paths, database)
        term = office.take()
        write_owner(registry.paths, zombie)

        with database.write() as tx:
            tx.set_meta("seed", 7)
        office.beat()
        owner = read_owner(registry.paths)
        assert (owner.database, owner.term) == (database.path.name, term)


def test_it_takes_thirty_seconds_in_which_nothing_moves(paths: RegistryPaths) -> None:
    clock = [0.0]
    still = Stillness(paths, lambda: clock[0])
    clock[0] = STILL_SECONDS - 0.1
    assert not still.enough
    owner = read_owner(paths)
    write_owner(paths, replace(owner, heartbeat=1.0))
    assert still.seconds() == 0

    clock[0] += STILL_SECONDS - 0.1
    assert not still.enough
    paths.database(9).touch()  # another host has begun to take over
    assert still.seconds() == 0
    clock[0] += STILL_SECONDS
    assert still.enough


def test_a_damaged_database_is_not_taken_over(paths: RegistryPaths) -> None:
    damaged = bytearray(paths.database(1).read_bytes())
    damaged[4096:12288] = b"x" * 8192
    paths.database(1).write_bytes(damaged)

    with pytest.raises(RegistryDamaged, match="batchpilot repair"):
        take_over(paths, look(paths))
    assert read_owner(paths).host == "another"
    assert not paths.database(2).exists()


@pytest.mark.parametrize("mode", ["WAL", "PERSIST", "DELETE"])
def test_a_writer_frozen_inside_a_transaction_leaves_only_what_was_committed(
    tmp_path: Path, mode: str
) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    writer = sqlite3.connect(source, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("PRAGMA cache_size = 5")  # what does not fit goes to the file before the commit
    writer.execute("CREATE TABLE t (x)")
    writer.execute("INSERT INTO t VALUES (zeroblob(100000))")
    writer.execute("BEGIN")
    writer.executemany("INSERT INTO t VALUES (zeroblob(?))", [(50_000,)] * 20)

    copy_files(source, target)

    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*) FROM t").fetchone()[0] == 1
        assert copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    writer.execute("COMMIT")
    writer.close()
