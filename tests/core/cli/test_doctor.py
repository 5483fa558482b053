"""`doctor`: what is sound, what is worth knowing, what is to be mended."""

from __future__ import annotations

import shutil
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.conftest import HandMade

from batchpilot.checkup import directory
from batchpilot.checkup.soundness import Soundness, inspect_segment
from batchpilot.store.launches import LaunchFailure, note_failure
from batchpilot.store.owner import read_owner, write_owner
from batchpilot_broker.files import write_json
from batchpilot_broker.frames import Kind, pack_frame
from batchpilot_broker.paths import RegistryPaths

from .conftest import Call, Document


MACHINE = ["python", "packages", "broker binary", "runtime directory"]


@pytest.fixture
def paths(lecture: HandMade) -> RegistryPaths:
    """A registry whose jobs are done; nobody has it open."""
    lecture.registry.database.back_up(1)
    lecture.registry.close()
    return lecture.registry.paths


def bad(document: Document, paths: RegistryPaths, *, code: int = 1) -> dict[str, str]:
    told = document("doctor", "doctor", paths.root, code=code)
    return {check["check"]: check["text"] for check in told["checks"] if check["health"] == "bad"}


def test_a_sound_registry_is_well(paths: RegistryPaths, call: Call, document: Document) -> None:
    told = document("doctor", "doctor", paths.root)
    code, out, _ = call("doctor", paths.root)

    assert told["registry"] == str(paths.root)
    assert told["well"] is True
    assert [check["check"] for check in told["checks"]] == [
        *MACHINE,
        *("space", "rights", "place", "file system", "database", "working directory"),
        *("segments", "coordinator", "broker", "agents"),
    ]
    assert code == 0
    assert len(out.splitlines()) == len(told["checks"])
    assert "\nok    segments: 2 with 18 records, all readable\n" in out


def test_without_a_registry_the_machine_is_looked_at(
    tmp_path: Path, call: Call, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code, out, err = call("doctor")

    assert code == 0
    assert [line.split(": ")[0].removeprefix("ok    ") for line in out.splitlines()] == MACHINE
    assert err == "No registry is here; to check one: batchpilot doctor REG\n"
    assert document("doctor", "doctor")["registry"] is None
    assert call("doctor", tmp_path / "none")[0] == 3


def test_a_missing_broker_binary_is_told_with_its_remedy(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHPILOT_BROKER_BIN", "/nonexistent/server")
    monkeypatch.delenv("BATCHPILOT_BROKER_URL", raising=False)

    code, out, _ = call("doctor")

    assert code == 1
    assert "bad   broker binary: /nonexistent/server does not run" in out
    assert "BATCHPILOT_BROKER_URL" in out


def test_open_rights_are_told(paths: RegistryPaths, document: Document) -> None:
    paths.secret.chmod(0o644)
    paths.segments.chmod(0o755)

    assert bad(document, paths) == {"rights": "others may look into segments, secret"}


def test_a_damaged_database_is_to_be_repaired(
    paths: RegistryPaths, document: Document, call: Call
) -> None:
    database = paths.database(1)
    data = bytearray(database.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    database.write_bytes(data)

    assert set(bad(document, paths)) == {"database", "coordinator"}
    assert f"batchpilot repair {paths.root}" in call("doctor", paths.root)[1]


@pytest.mark.parametrize("beginning", [b"", b"this is no database at all"], ids=["empty", "text"])
def test_a_destroyed_database_is_to_be_repaired(
    paths: RegistryPaths, document: Document, beginning: bytes
) -> None:
    paths.database(1).write_bytes(beginning)

    assert "database" in bad(document, paths)


def test_damaged_and_shortened_segments_are_told(paths: RegistryPaths, document: Document) -> None:
    segment = paths.results("a1")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert "1 damaged stretches, 0 cut short: a1.results" in bad(document, paths)["segments"]

    with sqlite3.connect(paths.database(1)) as database:
        database.execute("UPDATE segment SET applied = ?", (len(data) + 1,))
    database.close()
    assert "1 damaged stretches, 1 cut short" in bad(document, paths)["segments"]


def test_a_torn_end_is_no_damage(paths: RegistryPaths, call: Call) -> None:
    with paths.results("a1").open("ab") as segment:
        segment.write(b"bp\x01")

    code, out, _ = call("doctor", paths.root)

    assert code == 0
    assert "note  segments: 2 with 18 records; 1 end in a record that is not complete" in out


def test_a_copy_and_a_registry_of_another_host_are_noted(
    paths: RegistryPaths, call: Call, tmp_path: Path
) -> None:
    copy = shutil.copytree(paths.root, tmp_path / "copy")
    assert (
        f"note  place: a copy, or another user's -> batchpilot adopt {copy}"
        in call("doctor", copy)[1]
    )

    write_owner(paths, replace(read_owner(paths), host="far-away"))
    assert "note  place: owned by host far-away" in call("doctor", paths.root)[1]


def test_a_working_directory_that_is_gone_is_told(paths: RegistryPaths, document: Document) -> None:
    with sqlite3.connect(paths.database(1)) as database:
        database.execute("UPDATE meta SET value = '/nonexistent' WHERE key = 'work_dir'")
    database.close()

    assert bad(document, paths) == {"working directory": "/nonexistent is gone: jobs cannot begin"}


def test_jobs_that_wait_for_no_coordinator_are_told(lecture: HandMade, document: Document) -> None:
    submission = lecture.submit([1, 2])
    with lecture.registry.database.write() as tx:
        tx.execute("add_span", submission, "c" * 12, 1, 2, None, None)

    assert bad(document, lecture.registry.paths) == {
        "coordinator": "the coordinator is not running, and 2 jobs wait"
    }


def test_what_made_the_supervisor_fail_is_told(paths: RegistryPaths, call: Call) -> None:
    write_json(paths.logs / "failure.json", {"message": "no server", "remedy": "get one"})

    out = call("doctor", paths.root)[1]

    assert "bad   coordinator: the coordinator is not running: no server -> get one" in out


def test_agents_that_fail_to_start_are_told(lecture: HandMade, document: Document) -> None:
    with lecture.registry.database.write() as tx:
        failure = LaunchFailure(pool="local", time=1.0, failures=2, words="oh no")
        note_failure(tx, failure)
    assert bad(document, lecture.registry.paths, code=0) == {}

    with lecture.registry.database.write() as tx:
        note_failure(tx, replace(failure, time=time.time()))
    assert bad(document, lecture.registry.paths)["agents"].endswith(": oh no")


def test_scarce_space_is_told(
    paths: RegistryPaths, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "SCARCE", 1 << 60)

    assert set(bad(document, paths)) == {"space"}


@pytest.mark.parametrize("window", [16, 100, 1 << 20])
def test_a_segment_is_read_in_windows_of_any_size(tmp_path: Path, window: int) -> None:
    frames = [pack_frame(Kind.LOG, bytes(size)) for size in (3, 400, 0, 77)]
    path = tmp_path / "a1.logs"
    path.write_bytes(b"".join(frames[:2]) + b"garbage" + b"".join(frames[2:]) + b"bp")

    size = path.stat().st_size
    assert inspect_segment(path, window) == Soundness(frames=4, gaps=1, end=size - 2, torn=2)


def test_a_probe_without_a_pool_on_other_machines_is_told_how_to_get_one(
    paths: RegistryPaths, document: Document, call: Call
) -> None:
    told = document("doctor", "doctor", paths.root, "--probe", code=1)
    named = document("doctor", "doctor", paths.root, "--probe", "--pool", "slurm", code=1)

    assert told["checks"][-1]["check"] == "probe"
    assert told["checks"][-1]["text"] == "no pool is on other machines"
    assert "reg.pools" in told["checks"][-1]["remedy"]
    assert named["checks"][-1]["text"] == "there is no pool 'slurm' on other machines"
    assert not paths.broker.exists()
    assert call("doctor", paths.root, "--pool", "slurm")[0] == 2
