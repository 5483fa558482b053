"""Parameters of any size and kind reach the job as they are."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import math
import pathlib
import re
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.end_to_end.conftest import MakeStudy

import batchpilot as bp


LENGTH = 100_000_000 // 8


class Colour(enum.Enum):
    """Be a value of the user's own."""

    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    """Be a class of the user's own."""

    x: int
    y: Any = None


VALUES: dict[str, Any] = {
    "none": None,
    "bool": True,
    "int": -(2**200),
    "float": math.inf,
    "complex": 1 - 2j,
    "text": "größer, ñ \U0001f600 \udc80",
    "empty text": "",
    "bytes": bytes(range(256)),
    "bytearray": bytearray(b"ab"),
    "tuple": (1, (2, ()), [3]),
    "list": [[], [None]],
    "dict": {"a": {1: {2, 3}}, (1, 2): frozenset("x")},
    "range": range(3, 10, 2),
    "slice": slice(1, None, 2),
    "ellipsis": ...,
    "date": dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
    "span": dt.timedelta(days=-1, microseconds=3),
    "decimal": decimal.Decimal("1.10"),
    "fraction": fractions.Fraction(1, 3),
    "path": pathlib.PurePosixPath("/a b/#ü"),
    "pattern": re.compile("a+", re.IGNORECASE),
    "uuid": uuid.UUID(int=5),
    "enum": Colour.RED,
    "dataclass": Point(1, Point(2)),
    "class": Point,
    "builtin": len,
    "partial of a builtin": functools.partial(int, base=2).func,
    "numpy scalar": np.float32(1.5),
    "numpy time": np.datetime64("2024-02-29T12:00", "s"),
    "large text": "x" * 200_000,
}


@pytest.fixture(scope="module")
def echoed(make_shared: MakeStudy) -> bp.Registry:
    """Give a registry whose jobs return their parameter."""
    registry = make_shared("echoed")
    registry.batch_map(lambda value: value, args={"value": list(VALUES.values())})
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    return registry


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_any_kind_goes_to_the_job_and_comes_back(echoed: bp.Registry, kind: str) -> None:
    result = echoed.load_result(list(VALUES).index(kind) + 1)

    assert type(result) is type(VALUES[kind])
    assert result == VALUES[kind]


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_any_kind_is_shown_in_the_table(echoed: bp.Registry, kind: str) -> None:
    job = list(VALUES).index(kind) + 1
    (shown,) = echoed.get_job_pars(job)["job_pars"]

    assert shown == {"value": VALUES[kind]}


TABLES: list[Any] = [
    np.arange(12.0).reshape(3, 4)[:, ::2],
    np.array([("a", 1)], dtype=[("name", "U5"), ("n", "i4")]),
    np.array([], dtype="<M8[ns]"),
    pd.Series([1.5, None], index=["a", "b"], name="s"),
    pd.DataFrame({"x": [1, 2], "c": pd.Categorical(["u", "v"])}),
]


def test_arrays_and_tables_go_to_the_job_and_come_back(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(lambda value: (type(value).__name__, value), args={"value": TABLES})
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    for (name, result), value in zip(registry.reduce_results_list(), TABLES, strict=True):
        assert name == type(value).__name__
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(result, value, strict=True)
        else:
            assert result.equals(value)


def test_an_array_of_100_mb_is_stored_once_for_all_jobs_and_each_has_its_own(
    make_study: MakeStudy,
) -> None:
    def change(array: Any, i: int) -> tuple[float, float]:
        before = float(array[i])
        array[:] = -1
        return before, float(array[0])

    array = np.arange(LENGTH, dtype=float)
    registry = make_study()
    registry.batch_map(change, array=[array, array.copy()], i=range(12))
    registry.submit_jobs(None, {"isolation": "slot"})

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    assert registry.reduce_results_list() == [(i, -1) for i in range(12)]
    sizes = sorted(path.stat().st_size for path in registry.paths.objects.iterdir())
    assert sizes[-1] > array.nbytes
    assert sum(sizes) < 1.2 * array.nbytes
