"""Defining a map: all that a careless user gives as vectors, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, ReadOnly
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import Registry, load_registry, make_registry
from batchpilot_agent.errors import CannotPickle


MB = 1 << 20


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with make_registry(tmp_path / "registry", seed=1, work_dir=tmp_path) as registry:
        yield registry


def any_names(**values: Any) -> dict[str, Any]:
    return values


def pars(registry: Registry) -> list[Any]:
    return list(registry.get_job_pars()["job_pars"])


def objects(registry: Registry) -> list[Path]:
    return sorted(registry.paths.objects.iterdir())


def test_a_grid_is_the_cross_product_with_the_first_name_slowest() -> None:
    assert bp.grid(a=[1, 2], b=["x", "y", "z"]) == {
        "a": [1, 1, 1, 2, 2, 2],
        "b": ["x", "y", "z", "x", "y", "z"],
    }
    assert bp.grid(a=(n for n in (1, 2)), s="xy", n=None) == {
        "a": [1, 2],
        "s": ["xy", "xy"],
        "n": [None, None],
    }
    assert bp.grid(a=np.arange(2), b=[]) == {"a": [], "b": []}
    assert bp.grid() == {}


def test_a_grid_makes_a_job_for_each_combination(registry: Registry) -> None:
    ids = registry.batch_map(any_names, args=bp.grid(a=[1, 2], b="xy", c=[True, False]))

    assert ids == [1, 2, 3, 4]
    assert pars(registry)[2] == {"a": 2, "b": "xy", "c": True}


def test_values_that_are_no_vectors_stand_for_every_job(registry: Registry) -> None:
    values: dict[str, Any] = {"s": "ab", "b": b"ab", "d": {"k": 1}, "t": {1, 2}, "n": None}

    registry.batch_map(any_names, i=range(2), **values)

    assert pars(registry) == [{"i": 0, **values}, {"i": 1, **values}]


def test_numpy_and_pandas_are_vectors(registry: Registry) -> None:
    registry.batch_map(
        any_names,
        a=np.array([1.5, 2.5]),
        m=np.arange(4).reshape(2, 2),
        s=pd.Series(["x", "y"], index=[9, 8]),
        c=pd.Categorical(["u", "v"]),
        g=(n for n in (1, 2)),
    )

    rows = pars(registry)
    assert [(row["a"], row["m"].tolist(), row["s"], row["c"], row["g"]) for row in rows] == [
        (1.5, [0, 1], "x", "u", 1),
        (2.5, [2, 3], "y", "v", 2),
    ]


def test_a_round_cut_short_is_warned_of_where_the_user_wrote_it(registry: Registry) -> None:
    with pytest.warns(BatchpilotWarning, match="not a multiple of the length 2 of j") as caught:
        registry.batch_map(any_names, i=[1, 2, 3], j=[1, 2])

    assert caught[0].filename == __file__
    assert [row["j"] for row in pars(registry)] == [1, 2, 1]


@pytest.mark.parametrize("vectors", [{}, {"i": []}, {"i": [1, 2], "j": ()}], ids=str)
def test_without_elements_there_are_no_jobs(registry: Registry, vectors: dict[str, Any]) -> None:
    assert registry.batch_map(any_names, **vectors) == []
    assert registry.get_status().defined == 0
    assert registry.submit_jobs() == []
    assert registry.wait_for_jobs()


@pytest.mark.parametrize("name", ["class", "lambda", "fun", "args", "more_args", "tags", "job"])
def test_any_name_is_a_parameter_by_args(registry: Registry, name: str) -> None:
    registry.batch_map(any_names, args={name: [1, 2]})

    assert pars(registry) == [{name: 1}, {name: 2}]
    assert registry.test_job(2) == {name: 2}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"fun": [1]}, "fun"),
        ({"job": [1]}, "job"),
        ({"args": [1, 2]}, "args"),
        ({"more_args": [1, 2]}, "more_args"),
    ],
)
def test_as_a_keyword_a_reserved_name_is_refused_with_the_remedy(
    registry: Registry, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(DefinitionError, match=rf"args=\{{'{name}': \.\.\.\}}"):
        registry.batch_map(any_names, **given)

    assert objects(registry) == []


def test_a_parameter_called_tags_is_asked_for_by_args(registry: Registry) -> None:
    def fun(i: int, tags: str) -> str:
        return tags * i

    with pytest.raises(DefinitionError, match=r"args=\{'tags': \.\.\.\}"):
        registry.batch_map(fun, i=[1], tags="abc")


def test_the_function_may_go_by_keyword(registry: Registry) -> None:
    registry.batch_map(fun=any_names, i=[1])

    assert registry.test_job(1) == {"i": 1}


@pytest.mark.parametrize("fun", [None, 7, "name"], ids=str)
def test_what_is_no_function_is_refused(registry: Registry, fun: Any) -> None:
    with pytest.raises(DefinitionError, match="no function"):
        registry.batch_map(fun, i=[1])


def test_a_job_in_more_args_is_a_value_as_any(registry: Registry) -> None:
    registry.batch_map(lambda i, job: (i, job), i=[1], more_args={"job": "mine"})

    assert registry.test_job(1) == (1, "mine")


def test_columns_of_one_name_are_refused(registry: Registry) -> None:
    table = pd.DataFrame([[1, 2]], columns=["i", "i"])

    with pytest.raises(DefinitionError, match="several columns called i"):
        registry.batch_map(any_names, args=table)


def test_a_second_map_is_refused_and_leaves_nothing(registry: Registry) -> None:
    registry.batch_map(any_names, i=[1, 2])
    before = objects(registry)

    with pytest.raises(DefinitionError, match="holds 2 jobs already"):
        registry.batch_map(lambda k: k, k=[1])

    assert objects(registry) == before
    assert pars(registry) == [{"i": 1}, {"i": 2}]


def test_arrays_of_100_mb_are_stored_once_by_content(registry: Registry) -> None:
    array = np.arange(100 * MB // 8)

    registry.batch_map(lambda x, i: int(x[i]), x=[array, array.copy(), array], i=[1, 2, 3])

    large = [path for path in objects(registry) if path.stat().st_size > MB]
    assert [path.stat().st_size // MB for path in large] == [100]
    assert registry.test_job(3) == 3
    assert registry.find_jobs("i == 2") == [2]


def unpicklable() -> Callable[[], int]:
    lock = threading.Lock()
    return lambda: 1 + lock.locked()


def test_what_cannot_be_pickled_is_named_and_nothing_is_stored(registry: Registry) -> None:
    with pytest.raises(CannotPickle, match="lock"):
        registry.batch_map(unpicklable())
    with pytest.raises(DefinitionError, match="cannot be pickled"):
        registry.batch_map(any_names, i=[1, unpicklable()])

    assert objects(registry) == []


def test_a_registry_for_reading_refuses(registry: Registry) -> None:
    with load_registry(registry.file_dir, writeable=False) as reader, pytest.raises(ReadOnly):
        reader.batch_map(any_names, i=[1])

    assert objects(registry) == []


def test_what_was_defined_stays_where_no_backup_can_be_made(tmp_path: Path) -> None:
    with make_registry(tmp_path / "registry", seed=1, work_dir=tmp_path) as registry:
        registry.paths.backup.rmdir()
        registry.paths.backup.touch()  # a full disk does the same

        with pytest.warns(BatchpilotWarning, match="not backed up"):
            registry.batch_map(lambda i: i, i=range(3))

        assert registry.get_status().defined == 3
