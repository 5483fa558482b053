"""The values of the original, by file and entry."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


GOLDEN = Path(__file__).parents[1] / "golden"


@cache
def entries(file: str) -> dict[str, Any]:
    """Return the entries of a file, named by the beginning of its name: `g10`."""
    (path,) = GOLDEN.glob(f"{file}*.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def value(file: str, entry: str) -> Any:
    """Return the value of an entry."""
    return entries(file)[entry]["value"]


def as_list(found: Any) -> list[Any]:
    """Return what R wrote as a list: a vector of one element stands there alone."""
    return found if isinstance(found, list) else [found]


def renamed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with their columns spelled as ours are: `job_id` for `job.id`."""
    return [{name.replace(".", "_"): cell for name, cell in row.items()} for row in rows]
