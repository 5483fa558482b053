"""`unwrap`, against the values that R's batchtools computed (golden/g08_tables.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "g08_tables.json").read_text())


def table(*values: Any) -> pd.DataFrame:
    """A table of id and v, as in the golden script."""
    column = np.fromiter(values, object, len(values))
    return pd.DataFrame({"id": range(1, len(values) + 1), "v": pd.Series(column, dtype=object)})


def records(df: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, with null for what is missing, as JSON has it."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in df.to_dict("records")
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("unwrap_unnamed", ([5], [6])),
        ("unwrap_unnamed2", ([5, 7], [6, 8])),
        ("unwrap_vector_result", (np.array([1, 2]), np.array([3, 4]))),
        ("unwrap_named_vector", (pd.Series({"p": 1, "q": 2}), pd.Series({"p": 3, "q": 4}))),
        ("unwrap_null", (None, {"a": 1})),
        ("unwrap_df", (pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"a": [3]}))),
    ],
)
def test_all_shapes_are_spread_as_by_batchtools(name: str, values: tuple[Any, ...]) -> None:
    assert records(bp.unwrap(table(*values))) == GOLDEN[name]["value"]


def test_named_elements_become_columns() -> None:
    df = table({"a": 1, "b": 3}, {"a": 2, "b": 2}, {"a": 3}).rename(columns={"v": "values"})

    assert records(bp.unwrap(df)) == GOLDEN["unwrap"]["value"]
    assert records(bp.unwrap(df, sep=".")) == GOLDEN["unwrap_sep"]["value"]


def test_scalars_are_spread_where_asked_for() -> None:
    assert records(bp.unwrap(table("x", "y"), "v")) == GOLDEN["unwrap_strings"]["value"]
    assert records(bp.unwrap(table(5, 6), ["v"])) == GOLDEN["unwrap_unnamed"]["value"]
    assert bp.unwrap(table("x", "y")).columns.tolist() == ["id", "v"]


def test_a_column_of_nothing_is_dropped_where_asked_for() -> None:
    assert bp.unwrap(table(None, None), "v").columns.tolist() == [
        GOLDEN["unwrap_all_null"]["value"]
    ]
    assert bp.unwrap(table(None, None)).columns.tolist() == ["id", "v"]


def test_only_the_columns_asked_for_are_spread() -> None:
    df = table({"a": 1}).assign(u=pd.Series([{"b": 2}], dtype=object))

    assert bp.unwrap(df, "v").columns.tolist() == GOLDEN["unwrap_cols"]["value"]


def test_elements_that_are_no_scalars_stay_whole() -> None:
    df = bp.unwrap(table({"a": 1.5, "b": [1, 2]}, {"a": 2.5, "b": [3]}))

    assert df.dtypes.map(str).to_dict() == {"id": "int64", "a": "float64", "b": "object"}
    assert bp.unwrap(df, "b").columns.tolist() == ["id", "a", "b.1", "b.2"]


@pytest.mark.parametrize(
    ("df", "cols", "message"),
    [
        (table({"a": 1}).rename(columns={"id": "a"}), None, "duplicated column names: a"),
        (table(pd.DataFrame({"a": [1, 2]})), None, "would become several rows"),
        (table(np.eye(2)), None, "would become several rows"),
        (table({"a": 1}), "id", "'id' holds values of type int64"),
        (table({"a": 1}), "w", "no column 'w'"),
        (table({1: 2, "1": 3}), None, "duplicated column names: 1"),
    ],
    ids=["clash", "table", "matrix", "numbers", "unknown", "equal keys"],
)
def test_what_cannot_be_spread_is_refused(df: pd.DataFrame, cols: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        bp.unwrap(df, cols)


def test_types_are_kept_where_nothing_is_lost() -> None:
    df = bp.unwrap(table({"i": 1, "x": 1, "b": True, "big": 2**60}, {"i": 2, "x": 2.5, "b": False}))

    assert df["i"].tolist() == [1, 2]
    assert df["i"].dtype == int
    assert df["x"].dtype == float
    assert df["b"].dtype == bool
    assert df["big"].tolist() == [2**60, None]


def test_index_and_input_stay_as_they_are() -> None:
    df = table({"a": 1}, {"a": 2}).set_index(pd.Index([7, 9]))
    result = bp.unwrap(df)

    assert result.index.tolist() == [7, 9]
    assert df.columns.tolist() == ["id", "v"]
    assert bp.unwrap(df.iloc[:0], "v").columns.tolist() == ["id"]
