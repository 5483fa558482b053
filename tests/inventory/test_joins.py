"""The seven joins of the original (golden/g08): pandas and `JobIds` say the same.

batchpilot has no joins of its own; docs/from-batchtools.md names what to write instead, and here
it is seen to give the original's rows.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError

from .golden import entries, renamed, value


X = pd.DataFrame({"job_id": range(1, 6), "x": range(11, 16)})
Y = pd.DataFrame({"job_id": [2, 3, 5, 7], "extra": list("abcd")})


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows sorted by job, with null for what is missing."""
    records = table.sort_values("job_id", kind="stable").to_dict("records")
    return [
        {str(name): None if pd.isna(cell) else cell for name, cell in row.items()}
        for row in records
    ]


@pytest.mark.parametrize(
    ("name", "how"),
    [("ijoin", "inner"), ("ljoin", "left"), ("rjoin", "right"), ("ojoin", "outer")],
)
def test_joins_are_merges(name: str, how: Any) -> None:
    assert rows(X.merge(Y, how=how)) == renamed(value("g08", name))


def test_semi_and_anti_joins_are_questions_of_membership() -> None:
    inside = X["job_id"].isin(Y["job_id"])

    assert rows(X[inside]) == renamed(value("g08", "sjoin"))
    assert rows(X[~inside]) == renamed(value("g08", "ajoin"))


def test_an_update_join_is_an_update() -> None:
    updated = X.set_index("job_id")
    updated.update(Y.assign(x=[101, 102, 103, 104]).set_index("job_id")[["x"]])

    assert rows(updated.reset_index()) == renamed(value("g08", "ujoin_update"))


def test_joined_rows_are_repeated_for_each_match() -> None:
    twice = pd.DataFrame({"job_id": [2, 2, 4], "z": [1, 2, 3]})

    assert rows(X.merge(twice)) == renamed(value("g08", "ijoin_dups"))
    assert rows(X[X["job_id"].isin(twice["job_id"])]) == renamed(value("g08", "sjoin_dups"))


def test_columns_of_other_names_are_joined_by_naming_them() -> None:
    x = pd.DataFrame({"a": [1, 2, 3], "v": [1, 2, 3]})
    y = pd.DataFrame({"b": [2, 3, 4], "w": [7, 8, 9]})
    joined = x.merge(y, left_on="a", right_on="b").drop(columns="b")

    assert joined.to_dict("records") == value("g08", "by_named")


def test_ids_are_joined_by_the_operators_of_sets() -> None:
    x, y = bp.JobIds(X), bp.JobIds(Y)

    def ids(name: str) -> list[int]:
        return [row["job.id"] for row in value("g08", name)]

    assert list(x & y) == ids("ijoin") == ids("sjoin")
    assert list(x - y) == ids("ajoin")
    assert list(x | y) == ids("ojoin")


def test_tables_without_a_common_column_are_refused() -> None:
    with pytest.raises(pd.errors.MergeError, match="No common columns"):
        X.merge(pd.DataFrame({"other": [1]}))

    assert "explicitly" in entries("g08")["no_common"]["error"]


@pytest.mark.parametrize(
    ("name", "table", "cols", "message"),
    [
        ("unwrap_clash", {"a": [1], "v": [{"a": 1}]}, None, "uplicated column names: a"),
        ("unwrap_multirow", {"id": [1], "v": [pd.DataFrame({"a": [1, 2]})]}, None, "rows"),
        ("unwrap_bad_col", {"id": [1], "v": [{"a": 1}]}, "id", "'id'"),
    ],
)
def test_what_the_original_cannot_spread_is_refused_here_too(
    name: str, table: dict[str, list[Any]], cols: Any, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        bp.unwrap(pd.DataFrame(table), cols)

    assert message in entries("g08")[name]["error"]


def test_types_of_spread_columns_are_the_originals() -> None:
    values = [{"a": 1.5, "b": [1, 2]}, {"a": 2.5, "b": [3]}]
    spread = bp.unwrap(pd.DataFrame({"id": [1, 2], "v": values}))
    theirs = {"int64": "integer", "float64": "numeric", "object": "list"}

    kinds = {str(name): theirs[str(dtype)] for name, dtype in spread.dtypes.items()}
    assert kinds == value("g08", "unwrap_scalar_and_list")
