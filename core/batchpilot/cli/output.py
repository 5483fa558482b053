"""What commands write to stdout: tables for people, one JSON document for programs.

On a terminal tables have colours and fit its width; with NO_COLOR or TERM=dumb they are plain, and
where stdout is no terminal they are never cut. JSON is strict: what is not a number is null, what
JSON cannot say is its `repr`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import click
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text


SCHEMA = 1
UNBOUNDED = 10_000


def is_fancy(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that wants colours."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def console(stream: TextIO | None = None) -> Console:
    """Return a console for stdout or another stream; it takes what it prints literally."""
    stream = stream or sys.stdout
    fancy = is_fancy(stream)
    return Console(
        file=stream,
        width=None if stream.isatty() else UNBOUNDED,
        color_system="auto" if fancy else None,
        force_terminal=fancy,
        markup=False,
        highlight=False,
        emoji=False,
    )


def make_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    fancy: bool = False,
) -> Table:
    """Return a table of texts; the columns named in `right` are set to the right."""
    table = Table(box=box.SIMPLE_HEAD if fancy else None, pad_edge=False, header_style="bold")
    to_the_right = set(right)
    for header in headers:
        justify: JustifyMethod = "right" if header in to_the_right else "left"
        table.add_column(header, justify=justify, overflow="ellipsis")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return table


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()
) -> None:
    """Print a table on stdout."""
    fancy = is_fancy(sys.stdout)
    out = console()
    with out.capture() as captured:
        out.print(make_table(headers, rows, right=right, fancy=fancy))
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=fancy)


def print_document(**fields: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(to_json(fields))


def to_json(fields: Mapping[str, Any]) -> str:
    """Return a document as strict JSON."""
    return json.dumps(plain({"schema": SCHEMA, **fields}), indent=2, allow_nan=False)


def plain(value: Any) -> Any:  # noqa: PLR0911 - one case a line
    """Return a value as JSON can say it.

    Example:
        >>> plain({"a": (1, float("nan")), 2: {3}})
        {'a': [1, None], '2': '{3}'}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    # Of numpy's own types some stay what they are, e.g. longdouble.
    listed = value.tolist() if type(value).__module__ == "numpy" else value
    return repr(value) if type(listed) is type(value) else plain(listed)
