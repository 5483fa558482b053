"""Predicates over parameters."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpilot.errors import DefinitionError, UnknownName
from batchpilot.expressions import predicate
from batchpilot.unknowns import is_unknown


ROWS = [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "c")]
NAN = float("nan")


def matching(expr: Any, rows: list[tuple[Any, ...]] = ROWS, **variables: Any) -> list[int]:
    names = ("i", "j")[: len(rows[0])]
    ids = np.arange(1, len(rows) + 1)
    found: list[int] = predicate(expr, names, variables).select(rows, ids).tolist()
    return found


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("i == 2 & j == 'b'", [2]),
        ("i == 1 | j == 'c'", [1, 5]),
        ("~(i == 2) & i < 4", [1, 3]),
        ("~i == 2", [1, 3, 4, 5]),
        ("not i == 2 and ~ (j in 'ac')", [4]),
        ("i == 1 or\n  i == 2  # & not this\n", [1, 2]),
        ("j in ['a', '&', '|']", [1, 3]),
        ("any(i == k for k in (1, 5))", [1, 5]),
        ("(lambda k: k > 3)(i)", [4, 5]),
        ("len(j) == i", [1]),
        ("1 < i <= 3", [2, 3]),
        ("True", [1, 2, 3, 4, 5]),
    ],
)
def test_bit_operators_between_comparisons_are_and_or_not(expr: str, found: list[int]) -> None:
    assert matching(expr) == found


def test_names_are_parameters_then_variables_then_builtins() -> None:
    assert matching("i == n", n=3) == [3]
    assert matching("i == 2", i=77) == [2]
    assert matching("i == max", max=4) == [4]
    assert matching("i == max(1, 2)") == [2]


@pytest.mark.parametrize("expr", ["nope == 1", "False and nope", "[nope for k in ()] == i"])
def test_an_unknown_name_is_named_though_no_row_would_reach_it(expr: str) -> None:
    with pytest.raises(UnknownName, match="'nope' is neither a parameter nor a variable"):
        predicate(expr, ("i", "j"), {})


def test_a_near_name_is_proposed() -> None:
    with pytest.raises(UnknownName, match="did you mean 'alpha'"):
        predicate("alfa > 1", ("alpha",), {})


@pytest.mark.parametrize("expr", ["i ==", "i = 2", "i == (1", "i == 1)", "x y", ""])
def test_what_is_no_expression_is_refused(expr: str) -> None:
    with pytest.raises(DefinitionError, match="is no expression"):
        predicate(expr, ("i", "j"), {})


@pytest.mark.parametrize(
    ("expr", "word"),
    [
        ("i", r"gives 1 \(int\) for job 1"),
        ("i if i > 2 else True", r"gives 3 \(int\) for job 3"),
        ("np.array([1, 2]) == i", r"\(ndarray\) for job 1"),
        ("1 / (i - 3) > 0", "fails for job 3: ZeroDivisionError"),
        ("i.nothing", "fails for job 1: AttributeError"),
    ],
)
def test_a_verdict_that_is_none_names_the_job(expr: str, word: str) -> None:
    with pytest.raises(DefinitionError, match=word):
        matching(expr, np=np)


UNKNOWN_ROWS = [(None, 1), (1, NAN), (1, 1), (np.nan, None), (2, pd.NA)]


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("i == 1", [2, 3]),
        ("i != 1", [5]),
        ("~(i == 1)", [5]),
        ("i == 1 & j == 1", [3]),
        ("i == 1 | j == 1", [1, 2, 3]),
        ("~(i == 1 & j == 5)", [1, 3, 5]),
        ("i + 1 == 2", [2, 3]),
        ("-i == -1", [2, 3]),
        ("abs(i) == 1", [2, 3]),
        ("i in [1]", [2, 3]),
        ("i not in [2]", [2, 3]),
        ("i.real == 1", [2, 3]),
        ("i.bit_length() == 1", [2, 3]),
        ("(i if j == 1 else 5) == 1", [3]),
        ("i is None", [1]),
        ("i is not None & 0 < i < 2", [2, 3]),
        ("[i][0] == 1", [2, 3]),
        ("len([i]) == 1", [1, 2, 3, 4, 5]),
    ],
)
def test_an_unknown_value_is_no_match(expr: str, found: list[int]) -> None:
    assert matching(expr, UNKNOWN_ROWS) == found


def may_be(value: bool | None) -> tuple[bool, ...]:
    return (True, False) if value is None else (value,)


@given(st.lists(st.sampled_from([None, True, False]), min_size=2, max_size=2))
def test_logic_has_three_values(values: list[bool | None]) -> None:
    a, b = values
    worlds = list(product(may_be(a), may_be(b)))
    both = {x and y for x, y in worlds}
    either = {x or y for x, y in worlds}

    assert matching("(i == True) & (j == True)", [(a, b)]) == ([1] if both == {True} else [])
    assert matching("(i == True) | (j == True)", [(a, b)]) == ([1] if either == {True} else [])
    assert matching("~((i == True) & (j == True))", [(a, b)]) == ([1] if both == {False} else [])


@pytest.mark.parametrize(
    "value", [None, NAN, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")], ids=repr
)
def test_unknown_values_come_in_many_kinds(value: object) -> None:
    assert is_unknown(value)


@pytest.mark.parametrize("value", [0, "", [], np.array([NAN]), 1.5, np.int64(3), {}], ids=repr)
def test_empty_values_are_known(value: object) -> None:
    assert not is_unknown(value)


def test_a_function_takes_the_parameters_it_names() -> None:
    assert matching(lambda i: i > 3) == [4, 5]
    assert matching(lambda j, **rest: j == "a" and rest["i"] > 1) == [3]
    assert matching(lambda i, n=2: i == n) == [2]
    assert matching(lambda i: None if i == 1 else i == 2) == [2]


def test_a_function_of_something_else_is_refused() -> None:
    with pytest.raises(UnknownName, match="asks for 'k'"):
        predicate(lambda k: k, ("i",), {})
    with pytest.raises(DefinitionError, match="fails for job 1: KeyError"):
        matching(lambda i: {}[i])
    with pytest.raises(DefinitionError, match="42 is no predicate"):
        predicate(42, ("i",), {})


def test_parameters_that_are_no_identifiers_are_no_hindrance() -> None:
    test = predicate("i == 2", ("my column", "i", "class"), {})

    assert test.select([(0, 1, 0), (0, 2, 0)], np.array([5, 6])).tolist() == [6]
