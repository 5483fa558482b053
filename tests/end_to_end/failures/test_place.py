"""One registry has one place, one user and one coordinator: copies, moves, rivals, strangers."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers, script_environment

import batchpilot as bp
from batchpilot import control
from batchpilot.errors import AlreadyOwned, OwnershipLost, ReadOnly, RegistryDamaged
from batchpilot.notices import BatchpilotWarning
from batchpilot.repair import repair
from batchpilot.store.database import Database
from batchpilot.store.owner import Office, read_owner

from . import work
from .tools import assert_each_done_once, coordinator_pid


JOBS = 2000
NOBODY = 65534


def under_way(make_study: MakeStudy, until: Until) -> bp.Registry:
    registry = make_study()
    registry.batch_map(work.brief, i=range(1, JOBS + 1), more_args={"seconds": 0.002})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100)
    return registry


def finished(make_study: MakeStudy) -> bp.Registry:
    registry = make_study()
    registry.batch_map(work.brief, i=range(1, 51), more_args={"seconds": 0})
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False)
    return registry


def test_of_two_coordinators_started_at_once_one_gives_way(
    make_study: MakeStudy, until: Until
) -> None:
    registry = make_study()
    registry.batch_map(work.brief, i=range(20), more_args={"seconds": 0})
    control.start_broker(registry.paths)
    command = [sys.executable, "-m", "batchpilot.coordinator", str(registry.file_dir)]
    rivals = [
        subprocess.Popen(command, env=script_environment(), stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    until(lambda: any(rival.poll() is not None for rival in rivals))
    until(lambda: coordinator_pid(registry))
    winner = coordinator_pid(registry)
    loser = next(rival for rival in rivals if rival.pid != winner)

    assert loser.wait(10) == control.SUPERSEDED
    for rival in rivals:
        rival.terminate()
        rival.wait(20)


def test_an_office_that_is_held_is_not_taken(make_study: MakeStudy) -> None:
    registry = finished(make_study)
    rival = Database(registry.paths)

    with pytest.raises(AlreadyOwned, match="coordinator stop"):
        Office(registry.paths, rival).take()
    rival.close()


def test_a_coordinator_that_slept_through_a_takeover_writes_nothing(make_study: MakeStudy) -> None:
    registry = make_study()
    sleeper = Database(registry.paths)
    sleeper.term = 1
    with registry.database.write() as tx:
        tx.set_meta("term", 2)

    with pytest.raises(OwnershipLost, match="term 2"), sleeper.write() as tx:
        tx.set_meta("seed", 99)
    sleeper.close()
    with registry.database.read() as tx:
        assert tx.meta("seed") == 1


def test_an_owner_stopped_inside_a_transaction_is_killed_and_leaves_nothing_half(
    make_study: MakeStudy, until: Until
) -> None:
    registry = under_way(make_study, until)
    pid = coordinator_pid(registry)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    until(lambda: coordinator_pid(registry) not in (0, pid))

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, JOBS)


def test_a_zombie_that_wakes_inside_a_transaction_writes_into_a_dead_file(
    make_study: MakeStudy,
) -> None:
    registry = finished(make_study)
    control.stop(registry.paths)
    zombie = Database(registry.paths)
    inside, taken_over = threading.Event(), threading.Event()

    def sleep_inside() -> None:
        with zombie.write() as tx:
            tx.set_meta("names", '["stale"]')
            inside.set()
            taken_over.wait(60)

    thread = threading.Thread(target=sleep_inside)
    thread.start()
    inside.wait(60)
    repair(registry.paths)
    taken_over.set()
    thread.join()
    zombie.close()

    after = bp.load_registry(registry.file_dir)
    assert after.get_job_pars().loc[0, "job_pars"] == {"i": 1}
    after.close()
    with pytest.raises(OwnershipLost, match="taken over"):
        registry.reset_jobs(1)


def test_a_copy_made_while_jobs_run_is_a_registry_of_its_own(
    make_study: MakeStudy, until: Until, tmp_path: Path
) -> None:
    original = under_way(make_study, until)
    shutil.copytree(original.file_dir, tmp_path / "copy")
    make_study.watch(tmp_path / "copy")
    with pytest.warns(BatchpilotWarning, match="is a copy"):
        copy = bp.load_registry(tmp_path / "copy")

    assert copy.instance != original.instance
    assert copy.id == original.id
    assert copy.paths.secret.read_bytes() != original.paths.secret.read_bytes()
    assert copy.get_status().system == 0
    assert isinstance(copy.pools[0], bp.pools.Local)
    copy.pools = bp.pools.Local(slots=2)
    copy.submit_jobs()
    assert original.wait_for_jobs(timeout=60, progress=False)
    assert copy.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(original, JOBS)
    assert copy.reduce_results_list() == original.reduce_results_list()
    copy.close()


def test_a_registry_moved_while_jobs_run_goes_on_in_its_new_place(
    make_study: MakeStudy, until: Until, tmp_path: Path
) -> None:
    registry = under_way(make_study, until)
    old = coordinator_pid(registry)
    moved = tmp_path / "moved"
    registry.file_dir.rename(moved)
    make_study.watch(moved)
    again = bp.load_registry(moved)

    assert again.instance == registry.instance
    assert again.wait_for_jobs(timeout=90, progress=False)
    assert again.get_status().done == JOBS
    until(lambda: coordinator_pid(again) != old)
    assert max(numbers(again, "charged")) <= 1
    again.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_reads_nothing(make_study: MakeStudy) -> None:
    registry = finished(make_study)
    registry.file_dir.parent.chmod(0o755)
    said = subprocess.run(
        ["/bin/cat", str(registry.paths.secret)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode != 0
    assert "Permission denied" in said.stderr
    modes = {path: path.stat().st_mode & 0o077 for path in registry.file_dir.rglob("*")}
    assert not any(modes.values()), modes


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_registry_given_to_another_user_becomes_another_instance(make_study: MakeStudy) -> None:
    registry = finished(make_study)
    control.stop(registry.paths)
    before = registry.instance
    registry.close()
    for path in (registry.file_dir, *registry.file_dir.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    with pytest.warns(BatchpilotWarning, match="is a copy"):
        given = bp.load_registry(registry.file_dir)

    assert given.instance != before
    assert given.get_status().done == 50
    given.close()


def test_a_registry_opened_for_reading_answers_and_refuses_changes_by_name(
    make_study: MakeStudy,
) -> None:
    registry = finished(make_study)
    control.stop(registry.paths)
    reader = bp.load_registry(registry.file_dir, writeable=False)

    assert reader.get_status().done == 50
    assert reader.load_result(3) == 3
    with pytest.raises(ReadOnly, match="writeable=False"):
        reader.reset_jobs(1)
    with pytest.raises(ReadOnly):
        reader.submit_jobs(1)
    assert coordinator_pid(reader) == 0
    reader.close()


def test_without_any_server_everything_can_be_read(make_study: MakeStudy) -> None:
    registry = finished(make_study)
    control.stop(registry.paths)
    registry.paths.broker.unlink(missing_ok=True)
    again = bp.load_registry(registry.file_dir)

    assert again.reduce_results(lambda a, b: a + b) == sum(range(1, 51))
    assert len(again.get_job_table()) == 50
    assert again.kill_jobs() == bp.JobIds()
    assert coordinator_pid(again) == 0
    again.close()


def test_a_destroyed_database_is_rebuilt_from_backup_and_segments(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(work.brief, i=range(1, JOBS + 1), more_args={"seconds": 0})
    first = next(registry.paths.backup.iterdir())
    kept = first.read_bytes()
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False)
    control.stop(registry.paths)
    registry.reset_jobs([5, 6])
    registry.close()
    for path in registry.file_dir.glob("registry-*.db*"):
        path.write_bytes(b"not a database at all" * 100)
    for path in registry.paths.backup.iterdir():
        path.unlink()
    first.write_bytes(kept)  # the copy made when the jobs were defined is all there is
    with pytest.raises(RegistryDamaged, match="batchpilot repair"):
        bp.load_registry(registry.file_dir)

    repaired = repair(registry.paths)

    assert repaired.source == first
    assert repaired.ended >= JOBS - 2
    again = bp.load_registry(registry.file_dir)
    assert again.find_not_done() == bp.JobIds([5, 6])
    assert again.load_result(7) == 7
    highest = max(numbers(again, "attempt"))
    again.submit_jobs()
    assert again.wait_for_jobs(timeout=60, progress=False)
    assert max(numbers(again, "attempt")) > highest
    again.close()


def test_repair_refuses_while_a_coordinator_is_in_office(make_study: MakeStudy) -> None:
    registry = finished(make_study)

    with pytest.raises(AlreadyOwned, match="coordinator stop"):
        repair(registry.paths)


def test_backups_are_sound_and_at_most_two(make_study: MakeStudy) -> None:
    registry = finished(make_study)
    control.stop(registry.paths)
    copies = sorted(registry.paths.backup.iterdir())

    assert 1 <= len(copies) <= 2
    for copy in copies:
        connection = sqlite3.connect(copy)
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        connection.close()
    assert read_owner(registry.paths).pid == 0
