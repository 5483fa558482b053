"""Logs as JSON: which fields a line has, and what people are told of it."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest

from batchpilot_broker.journal import JsonLines, spoken


@pytest.fixture
def said() -> tuple[logging.Logger, io.StringIO]:
    """Give a logger of an agent, and what it writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(registry="r1", agent="local-1"))
    logger = logging.Logger("batchpilot_agent.pilot")  # noqa: LOG001 - one that only this test knows
    logger.addHandler(handler)
    return logger, stream


def line(stream: io.StringIO) -> dict[str, Any]:
    text = stream.getvalue()
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_says_who_when_and_what(said: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = said

    logger.warning("no broker: %s", "gone")

    found = line(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "warning",
        "logger": "batchpilot_agent.pilot",
        "message": "no broker: gone",
        "registry": "r1",
        "agent": "local-1",
    }


def test_what_a_line_is_about_stands_in_fields(said: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = said

    logger.info("ended", extra={"job": 7, "chunk": 3, "attempt": 2, "colour": "red"})

    found = line(stream)
    assert (found["job"], found["chunk"], found["attempt"]) == (7, 3, 2)
    assert "colour" not in found


def test_a_traceback_and_line_breaks_stay_in_one_line(
    said: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = said
    try:
        json.loads("[")
    except ValueError:
        logger.exception("two\nlines")

    found = line(stream)
    assert found["message"] == "two\nlines"
    assert "JSONDecodeError" in found["exception"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2026 local-1 INFO leaving", "2026 local-1 INFO leaving"),
        ('{"message": "leaving", "agent": "a"}', "leaving"),
        ('{"message": "no", "exception": "Traceback"}', "no\nTraceback"),
        ("{no json", "{no json"),
        ('{"colour": "red"}', '{"colour": "red"}'),
    ],
)
def test_people_are_told_the_message(written: str, told: str) -> None:
    assert spoken(written) == told
