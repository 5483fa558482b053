"""What a job prints is its log, whoever prints it, byte for byte."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchpilot_agent.segments import SegmentWriter
from batchpilot_agent.slot.capture import Capture, Spool


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent


def by_print(x: int) -> None:
    print("out", x)  # noqa: T201 - what is tested


def by_stderr(x: int) -> None:
    import sys  # noqa: PLC0415 - as in a job

    sys.stderr.write(f"out {x}\n")


def by_subprocess(x: int) -> None:
    import subprocess  # noqa: PLC0415 - as in a job

    subprocess.run(["sh", "-c", f"echo out {x}"], check=True)  # noqa: S607 - any sh


def by_descriptor(x: int) -> None:
    import os  # noqa: PLC0415 - as in a job

    os.write(1, b"out %d\n" % x)


def by_c(x: int) -> None:
    import ctypes  # noqa: PLC0415 - as in a job

    libc = ctypes.CDLL(None)
    libc.puts(b"out %d" % x)
    libc.fflush(None)


def by_a_closed_stdout(x: int) -> None:
    import sys  # noqa: PLC0415 - as in a job

    print("out", x)  # noqa: T201 - what is tested
    sys.stdout.close()


def by_dev_stdout(x: int) -> None:
    import pathlib  # noqa: PLC0415 - as in a job

    with pathlib.Path("/dev/stdout").open("a") as out:
        out.write(f"out {x}\n")


@pytest.mark.parametrize(
    "fun",
    [
        by_print,
        by_stderr,
        by_subprocess,
        by_descriptor,
        by_c,
        by_a_closed_stdout,
        by_dev_stdout,
    ],
)
def test_each_job_has_its_own_output(agent: Agent, fun: Callable[[int], None]) -> None:
    slot = agent.slot(fun)

    assert slot.run([(1,), (2,), (3,)]) == [3, "done"]

    rows = agent.rows()

    assert [agent.output(row) for row in rows] == [b"out 1\n", b"out 2\n", b"out 3\n"]
    assert [row.log_size for row in rows] == [6, 6, 6]


def test_a_quiet_job_has_no_log(agent: Agent) -> None:
    slot = agent.slot(lambda x: print("said") if x else None)  # noqa: T201 - what is tested
    slot.run([(0,), (1,), (0,)])

    assert [agent.output(row) for row in agent.rows()] == [b"", b"said\n", b""]
    assert agent.rows()[0].log_pos == 2**64 - 1


def test_any_bytes_without_a_newline_are_kept(agent: Agent) -> None:
    def write(x: bytes) -> None:
        import sys  # noqa: PLC0415 - as in a job

        sys.stdout.buffer.write(x)

    data = bytes(range(256)) * 3
    slot = agent.slot(write)
    slot.run([(data,), (b"\xff",)])

    assert [agent.output(row) for row in agent.rows()] == [data, b"\xff"]


def test_a_long_log_comes_in_parts(agent: Agent) -> None:
    def write(x: int) -> None:
        import os  # noqa: PLC0415 - as in a job

        for i in range(x):
            os.write(1, b"%07d" % i * 1000)

    slot = agent.slot(write)
    slot.run([(500,), (1,)])
    long, short = agent.rows()

    assert long.log_size == 3_500_000
    assert agent.output(long) == b"".join(b"%07d" % i * 1000 for i in range(500))
    assert agent.output(short) == b"0000000" * 1000


def test_output_of_python_and_of_programs_keeps_its_order(agent: Agent) -> None:
    def talk(x: int) -> None:
        import os  # noqa: PLC0415 - as in a job

        print("one")  # noqa: T201 - what is tested
        os.system("echo two")  # noqa: S605, S607 - what is tested
        print("three", x)  # noqa: T201 - what is tested

    slot = agent.slot(talk)
    slot.run([(3,)])

    assert agent.output(agent.rows()[0]) == b"one\ntwo\nthree 3\n"


def test_output_before_an_error_is_kept(agent: Agent) -> None:
    def fail(x: int) -> None:
        print("before", end="")  # noqa: T201 - what is tested
        raise ValueError(x)

    slot = agent.slot(fail)
    slot.run([(1,)])
    [row] = agent.rows()

    assert row.outcome == 2
    assert agent.output(row) == b"before"


def test_warnings_are_shown_by_each_job_of_a_slot(agent: Agent) -> None:
    def warn(x: int) -> None:
        import warnings  # noqa: PLC0415 - as in a job

        warnings.warn("careful", stacklevel=1)

    slot = agent.slot(warn)
    slot.run([(1,), (2,)])

    assert [b"careful" in agent.output(row) for row in agent.rows()] == [True, True]


def test_a_capture_in_the_session_gives_its_streams_back(tmp_path: Path) -> None:
    (tmp_path / "a.logs").touch()
    kept = [os.dup(fd) for fd in range(3)]
    before = (sys.stdin, sys.stdout, sys.stderr)
    try:
        capture = Capture(Spool(tmp_path / "spool"), SegmentWriter(tmp_path / "a.logs"))
        print("inside")  # noqa: T201 - what is tested
        taken = capture.take(1, 1)
        capture.release()
    finally:
        for fd, old in enumerate(kept):
            os.dup2(old, fd)
            os.close(old)

    assert taken == (0, len("inside\n"))
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_a_spool_is_a_new_file_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "spool").symlink_to(tmp_path / "another")

    with pytest.raises(FileExistsError):
        Spool(tmp_path / "spool")
    assert not (tmp_path / "another").exists()


def test_a_clean_leave_removes_the_spool(agent: Agent) -> None:
    slot = agent.slot(by_descriptor)
    slot.run([(1,)])

    assert [path.stat().st_size for path in agent.scratch.iterdir()] == [0]

    slot.talk.send(["quit"])

    assert slot.gone()
    assert list(agent.scratch.iterdir()) == []
