"""A registry lies wherever a directory may lie; where it cannot, it is said, nothing is left."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.conftest import Until, wait_until
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import coordinator_pid
from tests.end_to_end.failures.work import brief

import batchpilot as bp
from batchpilot.errors import ReadOnly, RegistryExists, RegistryMissing, StorageError
from batchpilot.registry.base import LONGEST_ROOT
from batchpilot_broker.host import runtime_dir

from .conftest import Call
from .tools import kill_all, runs_for


ODD = {
    "spaces": " two  words ",
    "signs of addresses": "a#b?c%20d&e;f=g",
    "letters of all the world": "größe 数据 é",
    "quotes": 'it\'s "so"',
    "signs of a shell": "-$HOME`x`\\*[a]|>",
    "a line break": "one\ntwo",
    "bytes that are no text": os.fsdecode(b"latin-\xe9"),
}
GONE_WITHIN = 20.0


def say(i: int) -> int:
    print(f"job {i}")  # noqa: T201 - its log is read
    return i


def runs_and_reads(registry: bp.Registry) -> bool:
    """Run two jobs, then load the registry again and read what they left."""
    registry.batch_map(say, i=[1, 2])
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False)
    with bp.load_registry(registry.file_dir) as again:
        return again.reduce_results_list() == [1, 2] and again.get_log(2) == ["job 2"]


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_a_directory_may_have_any_name(make_study: MakeStudy, call: Call, name: str) -> None:
    registry = make_study(name, pool=bp.pools.Local(slots=1))

    assert runs_and_reads(registry)
    code, said = call("doctor", registry.file_dir)
    assert code == 0, said


def test_a_path_may_be_long(make_study: MakeStudy, tmp_path: Path) -> None:
    name = f"{'long' * 40}/{'path' * 63}"[: LONGEST_ROOT - len(os.fsencode(tmp_path)) - 1]
    (tmp_path / name).parent.mkdir()
    registry = make_study(name, pool=bp.pools.Local(slots=1))

    assert len(os.fsencode(registry.file_dir)) == LONGEST_ROOT
    assert runs_and_reads(registry)


def test_a_path_longer_than_sqlite_takes_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    parent = tmp_path / "/".join(["long" * 40] * 4)
    parent.mkdir(parents=True)

    with pytest.raises(StorageError, match="choose a shorter path"):
        bp.make_registry(parent / "registry")
    assert not list(parent.iterdir())


def test_a_trailing_slash_names_the_same_registry(make_study: MakeStudy, call: Call) -> None:
    registry = make_study("slash", pool=bp.pools.Local(slots=1))
    assert runs_and_reads(registry)

    with bp.load_registry(f"{registry.file_dir}//") as again:
        assert (again.instance, again.file_dir) == (registry.instance, registry.file_dir)
    assert call("status", f"{registry.file_dir}/")[0] == 0


def test_a_registry_made_with_a_trailing_slash_is_where_it_was_asked_for(tmp_path: Path) -> None:
    with bp.make_registry(f"{tmp_path}/made/", work_dir=tmp_path) as registry:
        assert registry.file_dir == tmp_path / "made"


def test_a_registry_is_the_same_through_a_symlink(
    make_study: MakeStudy, tmp_path: Path, until: Until
) -> None:
    registry = make_study("behind", pool=bp.pools.Local(slots=1))
    link = tmp_path / "link"
    link.symlink_to(registry.file_dir)
    registry.batch_map(brief, i=range(400), more_args={"seconds": 0.005})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 10)
    office = coordinator_pid(registry)

    with bp.load_registry(link) as again:  # a warning, of a copy even, would be an error here
        assert again.instance == registry.instance
        assert again.wait_for_jobs(timeout=60, progress=False)
        assert again.reduce_results_list() == list(range(400))
        assert coordinator_pid(again) == office


def test_a_registry_may_be_made_below_a_symlink(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "there")
    registry = make_study("here/registry", pool=bp.pools.Local(slots=1))

    assert runs_and_reads(registry)
    with bp.load_registry(tmp_path / "there" / "registry") as again:
        assert again.instance == registry.instance


def test_what_exists_is_not_made_again(tmp_path: Path) -> None:
    bp.make_registry(tmp_path / "twice", work_dir=tmp_path).close()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.tex").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "file").touch()

    for name in ("twice", "kept", "broken", "file"):
        with pytest.raises(RegistryExists, match="choose another directory"):
            bp.make_registry(tmp_path / name)
    assert (tmp_path / "kept" / "thesis.tex").exists()


def test_a_file_or_another_directory_is_no_registry(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").touch()

    for place in (tmp_path / "file", tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(RegistryMissing, match=r"make one with bp\.make_registry"):
            bp.load_registry(place)
    assert call("status", tmp_path / "file")[0] == 3


def test_below_a_file_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="Not a directory"):
        bp.make_registry(tmp_path / "file" / "registry")


def test_where_nothing_may_be_written_a_registry_can_be_read(
    make_study: MakeStudy, small_disk: Path, call: Call
) -> None:
    registry = make_study("disk/registry", pool=bp.pools.Local(slots=1))
    assert runs_and_reads(registry)
    kill_all(registry)
    registry.close()
    protect(small_disk, "ro")
    try:
        with pytest.raises(StorageError, match="Read-only file system"):
            bp.make_registry(small_disk / "other")
        with bp.load_registry(registry.file_dir) as reader:
            assert reader.reduce_results_list() == [1, 2]
            with pytest.raises(ReadOnly, match="you may not write there"):
                reader.submit_jobs(1)
        assert call("status", registry.file_dir)[0] == 0
    finally:
        protect(small_disk, "rw")


def protect(disk: Path, how: str) -> None:
    """Remount a disk, when those that were killed have let go of their files."""
    remount = f"mount -o remount,{how} '{disk}'"
    wait_until(lambda: os.system(remount) == 0)  # noqa: S605 - our own disk


@pytest.mark.parametrize("idle", [False, True], ids=["in mid-run", "while idle"])
def test_daemons_of_a_registry_that_vanishes_end_by_themselves(
    make_study: MakeStudy, until: Until, tell: Tell, *, idle: bool
) -> None:
    registry = make_study("vanishes")
    instance, root = registry.instance, registry.file_dir
    registry.batch_map(brief, i=range(3 if idle else 5000), more_args={"seconds": 0.01})
    registry.submit_jobs()
    until(lambda: registry.get_status().done >= (3 if idle else 100))

    shutil.rmtree(root)
    moment = time.monotonic()
    if not idle:
        with pytest.raises(RegistryMissing, match="no registry in"):
            registry.wait_for_jobs(timeout=60, progress=False)
    until(lambda: not runs_for(instance, root), GONE_WITHIN)

    tell(f"all gone after {time.monotonic() - moment:.1f} s")
    assert not root.exists()
    home = runtime_dir(instance)  # made anew by asking for it
    assert not list(home.iterdir())
    home.rmdir()
