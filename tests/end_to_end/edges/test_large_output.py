"""Logs of any size and kind come back as they were written, each to its own job."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.failures.conftest import Tell

import batchpilot as bp


LINE = "0123456789" * 10 + "\n"
LINES = 1_000_000
LONG = 100_000
WAYS = ["long line", "binary", "no newline", "empty lines", "100 MB", "quiet"]
MANY = 100_000


def speak(way: str) -> str:
    """Write to descriptor 1 in some way."""
    out = {
        "long line": b"x" * LONG + b"\n" + b"y" * LONG,
        "binary": bytes(range(256)) * 1000,
        "no newline": b"one\ntwo",
        "empty lines": b"\n\nend\n\n",
    }
    os.write(1, out.get(way, b""))
    if way == "100 MB":
        for _ in range(100):
            os.write(2, LINE.encode() * (LINES // 100))
    return way


@pytest.fixture(scope="module")
def spoken(make_shared: MakeStudy) -> bp.Registry:
    """Give a registry of one job a way."""
    registry = make_shared("spoken")
    registry.batch_map(speak, way=WAYS)
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    return registry


def log(registry: bp.Registry, way: str) -> list[str]:
    """Return the log of the job that wrote in some way."""
    return registry.get_log(WAYS.index(way) + 1)


def test_lines_of_100_000_characters_are_not_cut(spoken: bp.Registry) -> None:
    assert log(spoken, "long line") == ["x" * LONG, "y" * LONG]


def test_binary_output_is_told_with_marks_for_what_is_no_text(spoken: bp.Registry) -> None:
    expected = (bytes(range(256)) * 1000).decode(errors="replace").split("\n")

    assert log(spoken, "binary") == [line.removesuffix("\r") for line in expected]


def test_a_last_line_without_an_end_is_a_line(spoken: bp.Registry) -> None:
    assert log(spoken, "no newline") == ["one", "two"]


def test_empty_lines_are_lines(spoken: bp.Registry) -> None:
    assert log(spoken, "empty lines") == ["", "", "end", ""]


def test_a_log_of_100_mb_comes_back_whole(spoken: bp.Registry) -> None:
    lines = log(spoken, "100 MB")

    assert len(lines) == LINES
    assert set(lines) == {LINE.rstrip()}


def test_a_job_beside_loud_ones_has_no_log(spoken: bp.Registry) -> None:
    assert log(spoken, "quiet") == []


def test_each_of_100_000_jobs_that_print_a_line_has_its_own(
    make_study: MakeStudy, tell: Tell
) -> None:
    def line(i: int) -> None:
        print("line of", i)  # noqa: T201 - what is tested

    registry = make_study()
    registry.batch_map(line, i=range(1, MANY + 1))
    began = time.monotonic()
    registry.submit_jobs(None, {"isolation": "slot"})
    assert registry.wait_for_jobs(timeout=90, progress=False), registry.get_error_messages()
    ran = time.monotonic()
    found = registry.grep_logs("line of")

    tell(f"{MANY} lines printed in {ran - began:.1f} s, read in {time.monotonic() - ran:.1f} s")
    assert dict(zip(found["job_id"], found["matches"], strict=True)) == expected_lines()


def expected_lines() -> dict[Any, str]:
    return {i: f"line of {i}" for i in range(1, MANY + 1)}
