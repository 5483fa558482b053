"""SQL by name: `sql("read_page")` returns the statement below `-- name: read_page`.

The statements stand in `sql/queries.sql` (what changes the registry, and what that needs),
`sql/reading.sql` (what only queries need), `sql/sweeping.sql` (what only a sweep needs) and
`sql/watching.sql` (what only metrics need).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def _statements() -> dict[str, str]:
    folder = files(__package__) / "sql"
    names = ("queries.sql", "reading.sql", "sweeping.sql", "watching.sql")
    text = "\n".join((folder / name).read_text() for name in names)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def sql(name: str) -> str:
    """Return a statement by its name."""
    return _statements()[name]


def schema() -> str:
    """Return the statements that make an empty database."""
    return (files(__package__) / "sql" / "schema.sql").read_text()
