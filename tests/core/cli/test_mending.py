"""`repair` and `adopt`: what they say they did, and what they refuse."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.core.conftest import HandMade

from batchpilot.registry.whole import load_registry
from batchpilot.store.owner import read_owner, write_owner
from batchpilot.store.pages import State
from batchpilot_broker.host import boot_id, process_start
from batchpilot_broker.paths import RegistryPaths

from .conftest import Call


NEWEST = 2 * 10**18


@pytest.fixture
def study(lecture: HandMade) -> RegistryPaths:
    """Jobs 1-8 were done at the last backup, job 9 was under way; its end is in a segment alone."""
    with lecture.registry.database.write() as tx:
        ids = np.arange(1, 10)
        tx.pages.put("attempt", ids, 1)
        tx.pages.put("state", np.array([9]), State.RUNNING)
        tx.pages.put("outcome", np.array([9]), 0)
        tx.execute("add_running", 9, 1, "a1", 1.0, -1)
    lecture.registry.database.back_up(NEWEST)
    lecture.registry.close()
    return lecture.registry.paths


def destroy(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 100)


def test_repair_tells_with_what_it_began_and_what_it_restored(
    study: RegistryPaths, call: Call
) -> None:
    destroy(study.database(1))
    assert call("status", study.root)[0] == 1

    code, out, err = call("repair", study.root)

    assert code == 0
    assert out == (
        f"Began with the copy backup/registry-{NEWEST}.db; the database is damaged or lost.\n"
        "Restored from segments: the ends of 1 job.\n"
        "Nothing was found that could not be restored.\n"
    )
    assert err == f"To go on: batchpilot wait {study.root}\n"
    with load_registry(study.root) as registry:
        assert registry.get_status().done == 9
        assert registry.load_result(9) == 10


def test_repair_of_a_sound_registry_says_so(study: RegistryPaths, call: Call) -> None:
    out = call("repair", study.root)[1]

    assert out.startswith("Began with the database registry-1.db, which is sound.\n")


def test_repair_tells_what_it_could_not_restore(study: RegistryPaths, call: Call) -> None:
    segment = study.results("a1")
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(data)

    out = call("repair", study.root)[1]

    assert "Not restored: 1 damaged stretches of segments.\n" in out
    assert "Nothing was found" not in out


def test_nothing_to_begin_with_is_an_error(study: RegistryPaths, call: Call) -> None:
    destroy(study.database(1))
    shutil.rmtree(study.backup)

    code, out, err = call("repair", study.root)

    assert (code, out) == (1, "")
    assert "Remedy: the results are still in segments/" in err


@pytest.mark.parametrize("command", ["repair", "adopt"])
def test_a_registry_at_work_is_left_alone(study: RegistryPaths, call: Call, command: str) -> None:
    me = os.getpid()  # stands for a coordinator's
    here = replace(read_owner(study), pid=me, pid_start=process_start(me), boot=boot_id())
    write_owner(study, here)
    assert call(command, study.root)[:2] == (1, "")

    write_owner(study, replace(here, host="far-away", heartbeat=time.time() - 10))
    code, out, err = call(command, study.root)
    assert (code, out) == (1, "")
    assert "far-away" in err
    assert read_owner(study).instance == here.instance


def test_a_copy_becomes_a_registry_of_its_own(
    study: RegistryPaths, call: Call, tmp_path: Path
) -> None:
    copy = RegistryPaths(shutil.copytree(study.root, tmp_path / "copy"))
    write_owner(copy, replace(read_owner(copy), host="far-away", pid=7, heartbeat=1.0))

    code, out, err = call("adopt", copy.root)

    assert (code, err) == (0, "")
    assert out == (
        f"{copy.root} is a registry of its own now, owned by {read_owner(study).host}.\n"
        "1 job handed out in the original: not submitted here.\n"
        f"  -> batchpilot submit {copy.root} @not-submitted\n"
    )
    assert read_owner(copy).instance != read_owner(study).instance
    assert copy.secret.read_bytes() != study.secret.read_bytes()
    with load_registry(copy.root) as registry:
        assert list(registry.find_not_submitted()) == [9]


def test_a_copy_that_lacks_the_end_of_a_segment_takes_those_jobs_back(
    study: RegistryPaths, call: Call, tmp_path: Path
) -> None:
    copy = RegistryPaths(shutil.copytree(study.root, tmp_path / "copy"))
    whole = copy.results("a1").read_bytes()
    copy.results("a1").write_bytes(whole[: len(whole) * 6 // 9])

    code, out, _ = call("adopt", copy.root)

    assert code == 0
    with load_registry(copy.root) as registry:
        done = registry.find_done()
        assert 4 <= len(done) < 8
        assert [registry.load_result(job) for job in done] == [10] * len(done)
        assert len(registry.find_not_submitted()) == 9 - len(done)
        assert f"{9 - len(done)} jobs handed out" in out
