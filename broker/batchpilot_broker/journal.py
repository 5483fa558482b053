"""How the programs write their logs: lines for people, or one JSON object a line.

    {"time": "2026-01-31T12:00:00.123Z", "level": "warning", "logger": "batchpilot.coordinator",
     "message": "…", "registry": "…", "agent": "…", "chunk": 7, "job": 12, "attempt": 1}

`registry` and `agent` stand in all lines of a program that knows them; `chunk`, `job` and `attempt`
where a line is about one. A traceback is in `exception`. What a dying process writes past all
logging is plain text in either format.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from enum import StrEnum


FIELDS = ("registry", "agent", "chunk", "job", "attempt")
_LEVEL = logging.INFO


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class JsonLines(logging.Formatter):
    """Write each record as one line of JSON.

    Args:
        facts: Fields of every line.
    """

    def __init__(self, **facts: str) -> None:
        super().__init__()
        self._facts = {name: value for name, value in facts.items() if value}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._facts,
        }
        line.update((name, getattr(record, name)) for name in FIELDS if hasattr(record, name))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start_log(log_format: str, text: str, **facts: str) -> None:
    """Begin to log to stderr.

    Args:
        log_format: "text" or "json".
        text: Format of a text line, as `logging` understands it.
        facts: Fields of every JSON line: `registry`, `agent`.
    """
    handler = logging.StreamHandler(sys.stderr)
    json_lines = log_format == LogFormat.JSON
    handler.setFormatter(JsonLines(**facts) if json_lines else logging.Formatter(text))
    logging.basicConfig(level=_LEVEL, handlers=[handler])


def spoken(line: str) -> str:
    r"""Return what a line of either format says to people.

    Example:
        >>> spoken('{"message": "leaving", "level": "info"}'), spoken("leaving")
        ('leaving', 'leaving')
    """
    if not line.startswith("{"):
        return line
    try:
        said = json.loads(line)
    except ValueError:
        return line
    words = [str(said[name]) for name in ("message", "exception") if name in said]
    return "\n".join(words) or line


def _stamp(seconds: float) -> str:
    whole, part = divmod(seconds, 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(part * 1000):03d}Z"
