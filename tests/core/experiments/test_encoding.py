"""When parameters are equal, and when they are not."""

from __future__ import annotations

import datetime as dt
import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from batchpilot.errors import DefinitionError
from batchpilot.experiments.encoding import LARGE, Encoder


NAN, INF = math.nan, math.inf
DAY = dt.datetime(2026, 11, 22, 19, 30, tzinfo=dt.UTC)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
)
values = st.recursive(
    scalars | npst.arrays(npst.scalar_dtypes(), npst.array_shapes(max_dims=2, max_side=3)),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(scalars)
    ),
    max_leaves=8,
)


@dataclass
class Setting:
    """Be a value of the user's own."""

    kernel: str
    width: float


def encoded(value: Any) -> bytes:
    return Encoder().encode(value)


def pairs(cases: list[tuple[Any, Any]]) -> pytest.MarkDecorator:
    """Run a test for each pair; they are told apart by number and types."""
    named = [
        pytest.param(*case, id=f"{at}-{'-'.join(type(value).__name__ for value in case)}")
        for at, case in enumerate(cases)
    ]
    return pytest.mark.parametrize(("one", "other"), named)


@given(values)
def test_a_value_equals_itself_and_its_copy(value: Any) -> None:
    again = eval(repr(value)) if isinstance(value, int | str | bytes | None) else value  # noqa: S307 - what repr has just made

    assert encoded(value) == encoded(value) == encoded(again)


@given(st.lists(values, max_size=3), st.lists(values, max_size=3))
def test_no_list_runs_into_the_next(first: list[Any], second: list[Any]) -> None:
    same = encoded(first) == encoded(second)

    assert same == (
        len(first) == len(second)
        and all(encoded(a) == encoded(b) for a, b in zip(first, second, strict=True))
    )


@given(st.dictionaries(st.text(), values))
def test_the_order_of_keys_does_not_matter(mapping: dict[str, Any]) -> None:
    assert encoded(mapping) == encoded(dict(reversed(mapping.items())))


@given(scalars, scalars)
def test_what_python_calls_equal_is_equal_but_for_bools_and_times(first: Any, second: Any) -> None:
    if isinstance(first, bool) is isinstance(second, bool) and not isinstance(
        first, dt.datetime | dt.date
    ):
        assert first != second or encoded(first) == encoded(second)
    if encoded(first) == encoded(second):
        assert first == second or first != first  # noqa: PLR0124 - NaN is itself here


@given(npst.arrays(st.sampled_from(["<f8", "<i4", "?", "<U3"]), npst.array_shapes(max_side=4)))
def test_arrays_are_equal_by_dtype_shape_and_bytes(array: np.ndarray[Any, Any]) -> None:
    assert encoded(array) == encoded(np.asfortranarray(array)) == encoded(array.copy())
    assert encoded(array) != encoded(array.reshape(-1, 1, 1, 1, 1, 1))
    assert encoded(array) != encoded(array.astype(object))


@pairs(
    [
        (1, 1.0),
        (0.0, -0.0),
        (NAN, -NAN),
        (2**70, float(2**70)),
        (1, 1 + 0j),
        (NAN, np.float32("nan")),
        (1, np.int8(1)),
        (0.5, np.float32(0.5)),
        (True, np.True_),
        ("a", np.str_("a")),
        (b"a", bytearray(b"a")),
        ({1, 2}, frozenset((2, 1))),
        ({"a": 1, "b": [NAN]}, {"b": [NAN], "a": np.float64(1)}),
        (DAY, pd.Timestamp(DAY)),
        (pd.Series([1, 2], name="x"), pd.Series([1, 2], name="x")),
        (pd.DataFrame({"a": ["x"]}), pd.DataFrame({"a": ["x"]})),
        (Setting("rbf", 1.5), Setting("rbf", 1.5)),
        (b"x" * (LARGE + 1), b"x" * (LARGE + 1)),
        (np.zeros(LARGE), np.zeros(LARGE)),
    ]
)
def test_these_are_one(one: Any, other: Any) -> None:
    assert encoded(one) == encoded(other)


@pairs(
    [
        (1, True),
        (0, False),
        (1, "1"),
        (None, 0),
        (NAN, None),
        (INF, -INF),
        (1, -1),
        ("a", b"a"),
        ([1, 2], (1, 2)),
        ([1, 2], [2, 1]),
        ([1], [[1]]),
        ({"a": 1}, {"a": 2}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
        (np.zeros(3), [0, 0, 0]),
        (np.zeros(3), np.zeros(3, "f4")),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.datetime64("2026-11-22"), np.datetime64("2026-11-23")),
        (DAY, DAY.replace(tzinfo=dt.timezone(dt.timedelta(hours=1)))),
        (pd.Series([1, 2]), pd.Series([1, 2], index=[5, 6])),
        (pd.Series([1, 2]), pd.Series([1.0, 2.0])),
        (pd.Series(["a"]), pd.Series(pd.Categorical(["a"]))),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (Setting("rbf", 1.5), Setting("rbf", 1.25)),
        (len, max),
    ]
)
def test_these_are_two(one: Any, other: Any) -> None:
    assert encoded(one) != encoded(other)


def test_a_value_changed_in_place_is_another_for_the_next_call() -> None:
    array = np.zeros(LARGE)
    before = Encoder().key(array)
    array[0] = 1

    assert Encoder().key(array) != before


def test_a_large_value_in_many_rows_is_hashed_once() -> None:
    encoder = Encoder()
    array = np.zeros(10 * LARGE)

    assert encoder.key({"x": array}) == encoder.key({"x": array}) == Encoder().key({"x": array})
    assert len(encoder.encode([array, array])) < 1000


def test_what_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)

    with pytest.raises(DefinitionError, match="holds itself"):
        encoded(ring)


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(DefinitionError, match="type lock cannot be pickled"):
        encoded({"a": threading.Lock()})
