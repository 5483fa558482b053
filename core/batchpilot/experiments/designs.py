"""Read designs: the rows of parameters that a problem or an algorithm is to be run with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpilot.errors import DefinitionError
from batchpilot.vectors import as_vector


Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Hold the rows of parameters of one problem or algorithm.

    Attributes:
        name: Its name.
        rows: Values by the parameters' names; one empty row where it is to run without any.
    """

    name: str
    rows: tuple[Row, ...] = ({},)


def read_designs(given: Any, known: Sequence[str], what: str) -> list[Design]:
    """Return the designs that a caller gave by name.

    Args:
        given: Designs by name; None for all that are known, once and without parameters.
        known: The names there are, in their order.
        what: "problem" or "algorithm".

    Raises:
        DefinitionError: They are no mapping, a name is unknown, or a design is no table.

    Example:
        >>> read_designs({"p1": {"n": [1, 2]}}, ["p1", "p2"], "problem")
        [Design(name='p1', rows=({'n': 1}, {'n': 2}))]
    """
    if given is None:
        return [Design(name=name) for name in known]
    if not isinstance(given, Mapping):
        raise DefinitionError(
            f"designs of {what}s cannot be a {type(given).__name__}",
            remedy=f"give each {what} its design: {{{_first(known, what)!r}: ...}}",
        )
    unknown = [name for name in given if name not in known]
    if unknown:
        raise DefinitionError(
            f"there is no {what} {', '.join(map(repr, unknown))}",
            remedy=f"the {what}s are {', '.join(known) or '(none)'}; add_{what} defines one",
        )
    return [Design(name=name, rows=_rows(value, name)) for name, value in given.items()]


def _first(known: Sequence[str], what: str) -> str:
    return known[0] if known else what


def _rows(design: Any, name: str) -> tuple[Row, ...]:
    if design is None:
        rows: list[Row] = []
    elif any(kind.__name__ == "DataFrame" for kind in type(design).__mro__):
        rows = _from_columns(_columns_of(design, name))
    elif isinstance(design, Mapping):
        rows = _from_columns(_equally_long(design, name))
    elif isinstance(design, list | tuple) and all(isinstance(row, Mapping) for row in design):
        rows = [{str(key): value for key, value in row.items()} for row in design]
    else:
        raise DefinitionError(
            f"the design of {name!r} cannot be a {type(design).__name__}",
            remedy="give a DataFrame, bp.grid(...), a list of dicts, or a dict of equal lists",
        )
    return tuple(rows) or ({},)


def _columns_of(table: Any, name: str) -> dict[str, list[Any]]:
    names = [str(column) for column in table.columns]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DefinitionError(
            f"the design of {name!r} has several columns called {', '.join(twice)}",
            remedy="rename them",
        )
    columns = range(len(names))
    return {names[at]: as_vector(table.iloc[:, at]) for at in columns}


def _equally_long(design: Mapping[Any, Any], name: str) -> dict[str, list[Any]]:
    columns = {str(key): as_vector(value) for key, value in design.items()}
    sizes = {key: len(column) for key, column in columns.items()}
    if len(set(sizes.values())) > 1:
        lengths = ", ".join(f"{key} has {size}" for key, size in sizes.items())
        raise DefinitionError(
            f"the columns of the design of {name!r} are not equally long: {lengths}",
            remedy="did you mean bp.grid? It crosses them",
        )
    return columns


def _from_columns(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
