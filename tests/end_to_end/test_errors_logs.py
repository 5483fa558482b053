"""What goes wrong in jobs, and what they print."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.conftest import Until

import batchpilot as bp

from .conftest import Held, MakeStudy


LIVE_LOG_SECONDS = 30.0
"""A running job's log is mirrored after 10 s; the rest is for a machine that others use too."""


@pytest.fixture(scope="module")
def mixed(make_shared: MakeStudy) -> bp.Registry:
    """Give five jobs that print in five ways, and one that raises."""

    def speak(way: str) -> str:
        import ctypes  # noqa: PLC0415 - inside the job
        import subprocess  # noqa: PLC0415 - as above

        if way == "print":
            print("by print")  # noqa: T201 - what is tested
        elif way == "subprocess":
            subprocess.run("echo by echo; echo by echo 2 >&2", shell=True, check=True)  # noqa: S602, S607 - as above
        elif way == "fd":
            os.write(1, b"by os.write\n")
            os.write(2, b"by os.write 2\n")
        elif way == "c":
            libc = ctypes.CDLL(None)
            libc.puts(b"by libc")
            libc.fflush(None)
        elif way == "stderr":
            sys.stderr.write("by stderr, without an end of line")
        elif way == "raise":
            print("so far so good")  # noqa: T201 - as above
            raise ValueError("no such way")
        return way

    registry = make_shared("mixed")
    registry.batch_map(speak, way=["print", "subprocess", "fd", "c", "stderr", "silent", "raise"])
    registry.submit_jobs()
    assert not registry.wait_for_jobs(timeout=90)
    return registry


@pytest.mark.parametrize(
    ("job", "lines"),
    [
        (1, ["by print"]),
        (2, ["by echo", "by echo 2"]),
        (3, ["by os.write", "by os.write 2"]),
        (4, ["by libc"]),
        (5, ["by stderr, without an end of line"]),
        (6, []),
    ],
)
def test_the_log_has_what_was_written_in_any_way(
    mixed: bp.Registry, job: int, lines: list[str]
) -> None:
    assert mixed.get_log(job) == lines


def test_a_job_that_raises_is_in_state_error(mixed: bp.Registry) -> None:
    status = mixed.get_status()

    assert (status.done, status.error, status.expired) == (6, 1, 0)
    assert mixed.find_error() == [7]


def test_error_messages_name_the_exception(mixed: bp.Registry) -> None:
    table = mixed.get_error_messages()

    assert table.to_dict("records") == [
        {"job_id": 7, "terminated": True, "error": True, "message": "ValueError: no such way"}
    ]


def test_loading_the_result_of_a_failed_job_raises_with_a_remedy(mixed: bp.Registry) -> None:
    with pytest.raises(
        bp.errors.JobFailed, match="job 7 failed: ValueError: no such way"
    ) as caught:
        mixed.load_result(7)

    assert "get_log(7)" in caught.value.remedy


def test_the_log_of_a_failed_job_ends_with_the_users_part_of_the_traceback(
    mixed: bp.Registry,
) -> None:
    log = mixed.get_log(7)

    assert log[:2] == ["so far so good", "Traceback (most recent call last):"]
    assert log[-1] == "ValueError: no such way"
    assert not any("batchpilot_agent" in line for line in log)


def test_the_log_of_a_running_job_can_be_read(
    make_study: MakeStudy, gate: Path, held: Held, until: Until
) -> None:
    def wait(i: int) -> int:
        print(f"begun {i}")  # noqa: T201 - a job's output
        held()
        print("done")  # noqa: T201 - as above
        return i

    registry = make_study()
    registry.batch_map(wait, i=[1])
    registry.submit_jobs()
    until(lambda: registry.find_running() == [1])
    until(lambda: registry.get_log(1) == ["begun 1"], LIVE_LOG_SECONDS)

    gate.touch()
    assert registry.wait_for_jobs(timeout=90)
    assert registry.get_log(1) == ["begun 1", "done"]
