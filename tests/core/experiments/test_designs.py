"""Designs: what may be given as one, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError
from batchpilot.experiments.designs import Design, read_designs


KNOWN = ["p1", "p2"]


def rows(design: Any) -> list[dict[str, Any]]:
    (read,) = read_designs({"p1": design}, KNOWN, "problem")
    return list(read.rows)


@pytest.mark.parametrize(
    "design",
    [
        pd.DataFrame({"n": [1, 2], "s": ["a", "b"]}),
        {"n": [1, 2], "s": ["a", "b"]},
        {"n": range(1, 3), "s": np.array(["a", "b"])},
        [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}],
        ({"n": 1, "s": "a"}, {"n": 2, "s": "b"}),
    ],
    ids=["table", "lists", "vectors", "dicts", "tuple"],
)
def test_a_design_is_a_table_of_any_kind(design: Any) -> None:
    assert rows(design) == [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]


def test_a_grid_is_a_design() -> None:
    assert rows(bp.grid(n=[1, 2], k=[3, 4])) == [
        {"n": 1, "k": 3},
        {"n": 1, "k": 4},
        {"n": 2, "k": 3},
        {"n": 2, "k": 4},
    ]


@pytest.mark.parametrize("design", [None, {}, [], pd.DataFrame(), {"n": []}], ids=str)
def test_an_empty_design_is_one_row_without_parameters(design: Any) -> None:
    assert rows(design) == [{}]


def test_numbers_of_a_table_are_pythons_own() -> None:
    (row,) = rows(pd.DataFrame({"n": [1], "x": [0.5], "b": [True]}))

    assert [type(value) for value in row.values()] == [int, float, bool]


def test_a_value_may_be_anything() -> None:
    table = pd.DataFrame({"a": [1, 2]})

    assert rows([{"t": table, "l": [1, 2]}]) == [{"t": table, "l": [1, 2]}]


def test_dicts_may_name_different_parameters() -> None:
    assert rows([{"kernel": "rbf", "width": 1}, {"kernel": "linear"}]) == [
        {"kernel": "rbf", "width": 1},
        {"kernel": "linear"},
    ]


def test_without_designs_each_runs_once() -> None:
    assert read_designs(None, KNOWN, "problem") == [Design(name="p1"), Design(name="p2")]
    assert read_designs(None, [], "problem") == []


def test_designs_keep_the_order_given() -> None:
    assert [d.name for d in read_designs({"p2": None, "p1": None}, KNOWN, "problem")] == KNOWN[::-1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"p3": None}, "there is no problem 'p3'; the problems are p1, p2"),
        ([{"n": 1}], "cannot be a list"),
        (pd.DataFrame({"n": [1]}), "cannot be a DataFrame"),
        ({"p1": {"n": [1, 2], "k": 3}}, "n has 2, k has 1; did you mean bp.grid"),
        ({"p1": 7}, "'p1' cannot be a int"),
        ({"p1": [1, 2]}, "'p1' cannot be a list"),
        ({"p1": "n"}, "'p1' cannot be a str"),
        ({"p1": pd.DataFrame([[1, 2]], columns=["n", "n"])}, "several columns called n"),
    ],
    ids=str,
)
def test_what_is_no_design_is_refused_by_name(given: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        read_designs(given, KNOWN, "problem")
