"""Give the parameters of experiments columns of their own, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from batchpilot.columns import objects
from batchpilot.unwrapping import unwrap


if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("job_id", "problem", "algorithm", "repl")
PARAMETERS = ("prob_pars", "algo_pars")
COLUMNS = (*IDENTITY, *PARAMETERS)

_TAKEN = frozenset((*IDENTITY, "result"))


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Return experiments with a column for each parameter.

    A name that problem and algorithm both use, or that another column has, gets `prob_pars.` or
    `algo_pars.` in front.

    Args:
        table: Experiments, with the columns of `COLUMNS`.

    Example:
        >>> spread(table).columns.tolist()
        ['job_id', 'problem', 'algorithm', 'repl', 'n', 'k']
    """
    used = [_names(table[column]) for column in PARAMETERS]
    clashing = (used[0] & used[1]) | ((used[0] | used[1]) & _TAKEN)
    table = table[list(COLUMNS)]
    if clashing:
        renamed = {column: _renamed(table[column], column, clashing) for column in PARAMETERS}
        table = table.assign(**renamed)
    return unwrap(table, PARAMETERS)


def _names(rows: Iterable[dict[str, Any]]) -> set[str]:
    return set(chain.from_iterable(rows))


def _renamed(rows: Iterable[dict[str, Any]], column: str, clashing: set[str]) -> Any:
    return objects(
        [
            {f"{column}.{name}" if name in clashing else name: row[name] for name in row}
            for row in rows
        ]
    )
