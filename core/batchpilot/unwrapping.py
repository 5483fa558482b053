"""Spread columns that hold dicts, lists and the like over columns of their elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from batchpilot.columns import column
from batchpilot.errors import DefinitionError


if TYPE_CHECKING:
    import pandas as pd


def unwrap(
    df: pd.DataFrame, cols: str | Sequence[str] | None = None, sep: str | None = None
) -> pd.DataFrame:
    """Return a table in which wrapped columns are replaced by columns of their elements.

    Named elements (dicts, Series, tables of one row) give columns of their names, unnamed ones
    (lists, tuples, arrays, scalars) `<column>.1`, `<column>.2`, …. What a row lacks is missing
    there; elements that are no scalars stay whole, for a second call to spread. New columns come
    after the others.

    Args:
        df: The table.
        cols: The columns, by default those that hold a dict, list, tuple, array, Series or table.
            Named columns may hold scalars too, and one that holds nothing at all is dropped.
        sep: Put the column's name and this in front of each element's name.

    Raises:
        DefinitionError: A named column cannot be spread, two columns would get one name, or a row
            would become several.

    Example:
        >>> unwrap(reg.get_job_pars())
    """
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

    chosen = _chosen(df, cols)
    if not chosen:
        return df.copy()
    names: list[Any] = [name for name in df.columns if name not in chosen]
    parts = [df[name] for name in names]
    for name in chosen:
        for key, values in _spread(df[name].tolist(), str(name), sep).items():
            names.append(key)
            parts.append(column(values, df.index))
    _refuse_clash(names)
    if not parts:
        return pd.DataFrame(index=df.index)
    table: pd.DataFrame = pd.concat(parts, axis=1, keys=names)
    return table


def _chosen(df: pd.DataFrame, cols: str | Sequence[str] | None) -> list[str]:
    if cols is None:
        return [name for name in df.columns if df[name].dtype == object and is_wrapped(df[name])]
    chosen = [cols] if isinstance(cols, str) else list(cols)
    for name in chosen:
        if name not in df.columns:
            raise DefinitionError(
                f"there is no column {name!r}", remedy=f"the columns are {', '.join(df.columns)}"
            )
        if df[name].dtype.kind != "O":
            raise DefinitionError(
                f"column {name!r} holds values of type {df[name].dtype}, nothing to unwrap",
                remedy="name columns of dicts, lists or objects",
            )
    return chosen


def is_wrapped(values: pd.Series[Any]) -> bool:
    """Tell whether a column holds something that `unwrap` spreads by itself."""
    return any(map(_is_container_type, set(map(type, values))))


def _is_container_type(kind: type) -> bool:
    return issubclass(kind, Mapping | list | tuple | np.ndarray) or _is_pandas(kind)


def _is_pandas(kind: type) -> bool:
    return kind.__name__ in ("Series", "DataFrame") and kind.__module__.startswith("pandas")


def _spread(values: list[Any], name: str, sep: str | None) -> dict[str, list[Any]]:
    """Return the elements of a column's values as lists by the new columns' names."""
    kinds = set(map(type, values))
    prefix = "" if sep is None else f"{name}{sep}"
    if kinds == {dict}:
        mappings: list[Mapping[Any, Any]] = values
    else:
        unnamed = f"{name}." if sep is None else prefix
        mappings = [_elements(value, name, unnamed, prefix) for value in values]
        prefix = ""
    return {f"{prefix}{key}": elements for key, elements in _by_key(mappings).items()}


def _elements(value: Any, name: str, unnamed: str, prefix: str) -> Mapping[Any, Any]:
    """Return the elements of one value by the names of their columns."""
    if value is None:
        return {}
    if isinstance(value, np.ndarray) or _is_pandas(type(value)):
        value = _plain(value, name)
    if isinstance(value, Mapping):
        return {f"{prefix}{key}": element for key, element in value.items()}
    if isinstance(value, list | tuple):
        return {f"{unnamed}{at}": element for at, element in enumerate(value, 1)}
    return {f"{unnamed}1": value}


def _plain(value: Any, name: str) -> Any:
    """Return an array, a Series or a table of one row as a list, a dict or a scalar."""
    if value.ndim == 0:
        return value[()]
    if not isinstance(value, np.ndarray):
        if value.ndim == 1:
            return dict(zip(value.index, value.tolist(), strict=True))
        if len(value) == 1:
            return {key: value[key].tolist()[0] for key in value.columns}
    if value.ndim > 1:
        raise DefinitionError(
            f"some rows cannot be unwrapped: a value in column {name!r} would become several rows",
            remedy="return one row per job, or leave this column out of cols=",
        )
    return value.tolist()


def _by_key(mappings: Sequence[Mapping[Any, Any]]) -> dict[str, list[Any]]:
    if not mappings:
        return {}
    keys = list(mappings[0])
    if len(keys) == 1 or any(len(mapping) != len(keys) for mapping in mappings):
        return _by_any_key(mappings)
    try:
        rows = list(map(itemgetter(*keys), mappings)) if keys else []
    except KeyError:
        return _by_any_key(mappings)
    return _named(
        (str(key), list(part)) for key, part in zip(keys, zip(*rows, strict=True), strict=False)
    )


def _by_any_key(mappings: Sequence[Mapping[Any, Any]]) -> dict[str, list[Any]]:
    """Return the values by key where rows differ in their keys; None where a row lacks one."""
    keys = dict.fromkeys(chain.from_iterable(mappings))
    return _named((str(key), [mapping.get(key) for mapping in mappings]) for key in keys)


def _named(pairs: Iterable[tuple[str, list[Any]]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, values in pairs:
        if name in found:
            _refuse_clash([name, name])
        found[name] = values
    return found


def _refuse_clash(names: Sequence[Any]) -> None:
    if len(set(names)) == len(names):
        return
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    raise DefinitionError(
        f"name clash while unwrapping: duplicated column names: {', '.join(twice)}",
        remedy='put the column\'s name in front with sep="."',
    )
