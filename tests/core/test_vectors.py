"""Vectors: what is one, how they are recycled, and how they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpilot.errors import DefinitionError
from batchpilot.ids import JobIds
from batchpilot.vectors import as_columns, as_vector, recycle


def silent(message: str) -> None:
    pytest.fail(f"warned: {message}")


VECTORS: dict[str, tuple[Any, list[Any]]] = {
    "list": ([1, "a"], [1, "a"]),
    "tuple": ((1, 2), [1, 2]),
    "range": (range(3), [0, 1, 2]),
    "array": (np.array([1.5, 2.5]), [1.5, 2.5]),
    "series": (pd.Series(["a", "b"], index=[7, 8]), ["a", "b"]),
    "index": (pd.Index([3, 4]), [3, 4]),
    "ids": (JobIds([2, 1]), [1, 2]),
    "iterator": (iter([1, 2]), [1, 2]),
    "generator": ((n * n for n in (1, 2)), [1, 4]),
    "empty": ([], []),
}
SCALARS: list[Any] = ["ab", b"ab", {"a": 1}, {1, 2}, frozenset((1,)), None, 3, 2.5, len, object()]


@pytest.mark.parametrize("kind", VECTORS)
def test_these_are_vectors(kind: str) -> None:
    value, elements = VECTORS[kind]

    assert as_vector(value) == elements


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: type(value).__name__)
def test_everything_else_has_length_one(value: Any) -> None:
    assert as_vector(value) == [value]


def test_elements_of_numeric_arrays_are_plain_python_numbers() -> None:
    kinds = [np.array([1]), np.array([1.0]), np.array([True]), np.array(["a"])]

    assert [type(as_vector(array)[0]) for array in kinds] == [int, float, bool, str]


def test_rows_of_a_matrix_are_elements() -> None:
    rows = as_vector(np.arange(6).reshape(3, 2))

    assert [row.tolist() for row in rows] == [[0, 1], [2, 3], [4, 5]]


def test_times_keep_their_type() -> None:
    (first, _) = as_vector(pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"])))

    assert pd.Timestamp(first) == pd.Timestamp("2026-01-01")


def test_shorter_vectors_are_repeated_to_the_longest() -> None:
    columns = recycle({"i": [1, 2, 3, 4], "j": ["a", "b"], "k": [None]}, silent)

    assert columns == {"i": [1, 2, 3, 4], "j": ["a", "b", "a", "b"], "k": [None] * 4}


def test_a_last_round_that_is_cut_short_is_told() -> None:
    said: list[str] = []

    columns = recycle({"i": [1, 2, 3], "j": ["a", "b"]}, said.append)

    assert columns["j"] == ["a", "b", "a"]
    assert said == ["3 is not a multiple of the length 2 of j: its last round is cut short"]


def test_an_empty_vector_makes_no_jobs() -> None:
    assert recycle({"i": [1, 2], "j": []}, silent) == {"i": [], "j": []}
    assert recycle({}, silent) == {}


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(), min_size=1, max_size=7)))
def test_recycling_is_counting_round_and_round(columns: dict[str, list[int]]) -> None:
    longest = max(map(len, columns.values()), default=0)

    recycled = recycle(columns, lambda _: None)

    assert recycled == {
        name: [column[i % len(column)] for i in range(longest)] for name, column in columns.items()
    }


@pytest.mark.parametrize(
    "args",
    [
        {"i": [1, 2], "j": "x"},
        pd.DataFrame({"i": [1, 2], "j": ["x", "x"]}, index=[5, 6]),
        [{"i": 1, "j": "x"}, {"j": "x", "i": 2}],
    ],
    ids=["dict", "frame", "records"],
)
def test_a_table_says_the_same_as_keywords(args: Any) -> None:
    columns = recycle(as_columns(args, {}), silent)

    assert columns == recycle(as_columns(None, {"i": [1, 2], "j": "x"}), silent)


@pytest.mark.parametrize(
    ("args", "vectors", "message"),
    [
        ({"i": [1]}, {"j": [2]}, "both as keywords and by args="),
        (None, {"job": [1]}, "'job' as a keyword"),
        (7, {}, "cannot be a int"),
        ([1, 2], {}, "cannot be a list"),
        ([{"i": 1}, {"k": 1}], {}, r"row 1 of args has \['k'\], the first has \['i'\]"),
    ],
)
def test_what_cannot_be_read_as_vectors_is_refused_with_a_remedy(
    args: Any, vectors: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        as_columns(args, vectors)

    assert caught.value.remedy


def test_a_vector_called_job_can_be_given_by_args() -> None:
    assert as_columns({"job": [1, 2]}, {}) == {"job": [1, 2]}
