"""SQL by name: `sql("read_page")` returns the statement below `-- name: read_page`.

The statements stand in `sql/queries.sql` (what changes the registry, and what that needs),
`sql/reading.sql` (what only queries need), `sql/sweeping.sql` (what only a sweep needs),
`sql/experiments.sql`, `sql/elsewhere.sql` (what sessions on other hosts need),
`sql/allocations.sql` (agents at batch systems) and `sql/watching.sql` (what only metrics need).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


_FILES = (
    "queries",
    "reading",
    "sweeping",
    "experiments",
    "elsewhere",
    "allocations",
    "watching",
)


@cache
def _statements() -> dict[str, str]:
    folder = files(__package__) / "sql"
    text = "\n".join((folder / f"{name}.sql").read_text() for name in _FILES)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def sql(name: str) -> str:
    """Return a statement by its name."""
    return _statements()[name]


def schema() -> str:
    """Return the statements that make an empty database."""
    return (files(__package__) / "sql" / "schema.sql").read_text()
