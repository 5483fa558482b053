"""`bt_map` on a registry whose jobs run in this process; with real agents see end_to_end."""

from __future__ import annotations

import math
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, JobFailed

from .conftest import MakeHere


def bt_map(make_here: MakeHere, *given: Any, **options: Any) -> list[Any]:
    return bp.bt_map(*given, reg=make_here(), **options)


def test_one_vector_is_mapped_as_map_does(make_here: MakeHere) -> None:
    assert bt_map(make_here, lambda x: x * x, range(5)) == [0, 1, 4, 9, 16]


def test_several_vectors_are_mapped_by_name_and_recycled(make_here: MakeHere) -> None:
    assert bt_map(make_here, lambda a, b: (a, b), b=[1, 2, 3, 4], a="xy") == [
        ("xy", 1),
        ("xy", 2),
        ("xy", 3),
        ("xy", 4),
    ]
    assert bt_map(make_here, lambda a, b: a * b, args=bp.grid(a=[1, 2], b=[3, 4])) == [3, 4, 6, 8]


def test_functions_that_name_no_parameters_take_one_vector(make_here: MakeHere) -> None:
    assert bt_map(make_here, math.sqrt, [4, 9]) == [2.0, 3.0]
    assert bt_map(make_here, int, ["1", "2"]) == [1, 2]
    assert bt_map(make_here, lambda *values: values, [1, 2]) == [(1,), (2,)]


def test_static_values_and_the_job_are_passed(make_here: MakeHere) -> None:
    found = bt_map(make_here, lambda x, y, job: (x + y, job.id), [1, 2], more_args={"y": 10})

    assert found == [(11, 1), (12, 2)]


def test_chunks_keep_the_order_of_the_results(make_here: MakeHere) -> None:
    assert bt_map(make_here, lambda x: -x, range(10), n_chunks=3) == [-x for x in range(10)]
    assert bt_map(make_here, lambda x: -x, range(10), chunk_size=4) == [-x for x in range(10)]


def test_an_empty_vector_gives_an_empty_list(make_here: MakeHere) -> None:
    assert bt_map(make_here, abs, []) == []


def test_resources_are_those_of_the_jobs(make_here: MakeHere) -> None:
    registry = make_here()
    bp.bt_map(lambda x: x, [1], resources={"walltime": 77}, reg=registry)

    assert registry.get_job_resources()["resources"].tolist() == [{"walltime": 77}]


def test_a_job_without_a_result_is_an_error_with_the_first_message(make_here: MakeHere) -> None:
    registry = make_here()
    with pytest.raises(JobFailed, match=r"job 2 failed.*1 more.*ZeroDivisionError") as caught:
        bp.bt_map(lambda x: 1 / x, [1, 0, 2, 0], reg=registry)

    assert str(registry.file_dir) in str(caught.value)
    assert caught.value.fields["job"] == 2


@pytest.mark.parametrize(
    ("given", "options"),
    [((), {}), (([1],), {"y": [1]}), ((), {"y": [1], "args": {"y": [1]}})],
)
def test_vectors_are_given_in_one_way(
    make_here: MakeHere, given: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(DefinitionError, match="one vector, or several"):
        bt_map(make_here, lambda y: y, *given, **options)


def test_what_is_no_function_is_refused(make_here: MakeHere) -> None:
    with pytest.raises(DefinitionError, match="7 is no function"):
        bt_map(make_here, 7, [1])
