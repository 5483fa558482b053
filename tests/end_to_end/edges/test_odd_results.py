"""Results of any size and kind: what cannot be read costs that one result only."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.end_to_end.conftest import MakeStudy, processes_of

import batchpilot as bp


LARGE = 200 << 20
FEW_MB = 100 << 20
"""Memory that a daemon through which no result passes never has."""


class Lying(Exception):
    """Say that it is made with nothing, and need something."""

    def __init__(self, what: str) -> None:
        super().__init__(what)

    def __reduce__(self) -> Any:
        return (Lying, ())


class Leaving(Exception):
    """End the program that reads it."""

    def __reduce__(self) -> Any:
        return (sys.exit, (7,))


KINDS = [
    "none",
    "lying raised",
    "lying returned",
    "leaving raised",
    "leaving returned",
    "elsewhere",
    "last",
]
IDS = {kind: at for at, kind in enumerate(KINDS, 1)}


def odd(kind: str, where: str) -> Any:
    """Return or raise what is hard to read elsewhere."""
    match kind:
        case "none":
            return None
        case "lying raised":
            raise Lying("not the truth")
        case "lying returned":
            return Lying("not the truth")
        case "leaving raised":
            raise Leaving("not the truth")
        case "leaving returned":
            return Leaving("not the truth")
        case "elsewhere":
            sys.path.insert(0, where)
            import only_there  # type: ignore[import-not-found]  # noqa: PLC0415 - made by the test

            return only_there.Thing(5)
        case _:
            return kind


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with a module that only jobs find."""
    where = tmp_path_factory.mktemp("elsewhere")
    (where / "only_there.py").write_text(
        "class Thing:\n    def __init__(self, size):\n        self.size = size\n"
    )
    return where


@pytest.fixture(scope="module")
def ended(make_shared: MakeStudy, elsewhere: Path) -> bp.Registry:
    """Give a registry of one job a kind."""
    registry = make_shared("odd")
    registry.batch_map(odd, kind=KINDS, more_args={"where": str(elsewhere)})
    registry.submit_jobs()
    assert not registry.wait_for_jobs(timeout=60, progress=False)
    return registry


def test_none_is_a_result(ended: bp.Registry) -> None:
    assert IDS["none"] in ended.find_done()
    assert ended.load_result(IDS["none"]) is None


@pytest.mark.parametrize("kind", ["lying raised", "leaving raised"])
def test_a_raised_exception_is_told_and_never_unpickled(ended: bp.Registry, kind: str) -> None:
    message = str(ended.get_error_messages(IDS[kind])["message"].iloc[0])

    assert message.endswith(": not the truth")
    assert ended.get_log(IDS[kind])[-1].endswith(": not the truth")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("lying returned", "TypeError: .*missing 1 required"),
        ("leaving returned", "SystemExit: 7"),
        ("elsewhere", "No module named 'only_there'"),
    ],
)
def test_a_result_that_does_not_unpickle_is_an_error_that_names_job_and_cause(
    ended: bp.Registry, kind: str, reason: str
) -> None:
    with pytest.raises(bp.errors.ResultUnreadable, match=rf"job {IDS[kind]} .*{reason}") as caught:
        ended.load_result(IDS[kind])

    assert caught.value.remedy
    assert caught.value.fields == {"job": IDS[kind]}


def test_results_beside_unreadable_ones_are_read(ended: bp.Registry) -> None:
    assert ended.reduce_results_list([IDS["none"], IDS["last"]]) == [None, "last"]


def test_a_result_is_readable_once_its_module_is_there(
    ended: bp.Registry, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(elsewhere)

    assert ended.load_result(IDS["elsewhere"]).size == 5
    monkeypatch.delitem(sys.modules, "only_there")


def test_a_result_of_200_mb_comes_back_and_passes_through_no_daemon(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(lambda size: bytes(size - 1) + b"x", size=[LARGE, 5])
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    memory = [peak(process) for process in processes_of(registry.paths) if daemon(process)]
    result = registry.load_result(1)

    assert len(result) == LARGE
    assert result[-1:] == b"x"
    assert registry.load_result(2) == b"\0\0\0\0x"
    assert len(memory) >= 3
    assert max(memory) < FEW_MB


def daemon(process: psutil.Process) -> bool:
    """Tell whether this is supervisor, coordinator, keeper or pilot."""
    words = ""
    with suppress(psutil.Error):  # a slot may end while it is looked at
        words = " ".join(process.cmdline())
    return any(
        f"-m {name} " in words
        for name in ("batchpilot.supervisor", "batchpilot.coordinator", "batchpilot_agent")
    )


def peak(process: psutil.Process) -> int:
    """Return the most memory that a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
