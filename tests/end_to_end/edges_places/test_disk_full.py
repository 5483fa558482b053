"""A full disk: it is said, nothing is lost, and work goes on when there is space again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.failures.work import brief

import batchpilot as bp
from batchpilot import control
from batchpilot.errors import StorageError
from batchpilot.repair import is_sound

from .conftest import Call, MakeBroker
from .tools import fill


JOBS = 1500
MANY = 6000
"""They are at work still when the disk is full, and it has room for them."""


def under_way(make_study: MakeStudy, until: Until, name: str, jobs: int) -> bp.Registry:
    registry = make_study(name)
    registry.batch_map(brief, i=range(1, jobs + 1), more_args={"seconds": 0.002})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 100)
    return registry


def test_work_goes_on_when_a_full_disk_has_space_again(
    make_study: MakeStudy, until: Until, small_disk: Path, call: Call
) -> None:
    registry = under_way(make_study, until, "disk/registry", MANY)
    ballast = fill(small_disk)
    until(lambda: "cannot write" in daemons_words(registry), 30.0)

    code, said = call("doctor", registry.file_dir)
    assert code == 1, said
    assert "0.0 GB free" in said
    assert "make space" in said
    code, said = call("status", registry.file_dir)
    assert code == 0
    assert "Trouble: space: " in said
    ballast.unlink()

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert_each_done_once(registry, MANY)
    assert max(numbers(registry, "charged")) == 0


def daemons_words(registry: bp.Registry) -> str:
    return "".join(path.read_text(errors="replace") for path in registry.paths.logs.glob("*.log"))


def test_defining_and_submitting_on_a_full_disk_is_refused_and_changes_nothing(
    make_study: MakeStudy, small_disk: Path
) -> None:
    registry = make_study("disk/registry")
    registry.batch_map(brief, i=range(1, 21), more_args={"seconds": 0})
    other = make_study("disk/other")
    ballast = fill(small_disk)

    with pytest.raises(StorageError, match="space"):
        other.batch_map(brief, i=range(200_000), more_args={"seconds": 0})
    with pytest.raises(StorageError, match="space"):
        bp.make_registry(small_disk / "third")
    assert other.get_status().defined == 0
    assert not (small_disk / "third").exists()
    with pytest.raises(StorageError, match="space"):
        registry.submit_jobs()
    assert registry.get_status().submitted == 0
    ballast.unlink()

    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False)
    other.batch_map(brief, i=range(20), more_args={"seconds": 0})


def test_a_broker_whose_disk_is_full_is_told_of_and_work_goes_on_when_it_has_space(
    make_study: MakeStudy,
    make_broker: MakeBroker,
    until: Until,
    small_disk: Path,
    call: Call,
) -> None:
    make_broker("appendonly yes", "appendfsync everysec", home=small_disk / "broker")
    registry = under_way(make_study, until, "elsewhere", JOBS)
    ballast = fill(small_disk)
    until(lambda: "cannot write its data" in daemons_words(registry), 30.0)

    code, said = call("doctor", registry.file_dir)
    assert code == 1, said
    assert "cannot write its data" in said
    assert "make space on the disk it writes to" in said
    ballast.unlink()

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert_each_done_once(registry, JOBS)


def test_a_disk_with_no_room_for_a_backup_costs_the_backup_only(
    make_study: MakeStudy, small_disk: Path
) -> None:
    registry = make_study("disk/registry")
    registry.batch_map(lambda i, text: (i, text), i=range(30_000), text=["x" * 150] * 30_000)
    ballast = fill(small_disk)
    os.truncate(ballast, ballast.stat().st_size - (1 << 20))
    registry.submit_jobs(range(1, 21))
    assert registry.wait_for_jobs(range(1, 21), timeout=60, progress=False)

    control.stop(registry.paths)

    assert "not backed up" in daemons_words(registry)
    assert "the coordinator ended with" not in daemons_words(registry)
    assert [is_sound(path) for path in registry.paths.backup.iterdir()] == [True]
    ballast.unlink()
