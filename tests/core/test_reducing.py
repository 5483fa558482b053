"""Reductions: one fold a block, as batchtools' own tests have it, and where we differ."""

# ruff: noqa: ARG005 - what a function is called with is the matter here

from __future__ import annotations

import threading
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError

from .conftest import MakeHere


def results_of(registry: bp.Registry) -> list[Any]:
    registry.submit_jobs()
    return registry.reduce_results_list()


def add(aggr: int, x: int) -> int:
    return aggr + x


def test_twenty_numbers_in_ten_blocks_are_ten_jobs(make_here: MakeHere) -> None:
    registry = make_here()
    ids = registry.batch_reduce(add, range(1, 21), chunks=bp.chunk(range(20), n_chunks=10))

    assert list(ids) == list(range(1, 11))
    assert sum(results_of(registry)) == 210


def test_init_and_more_args_go_to_every_block(make_here: MakeHere) -> None:
    registry = make_here()
    numbers = bp.chunk(range(20), n_chunks=10, shuffle=False)
    registry.batch_reduce(
        lambda aggr, x, y: aggr + x + y, range(20), init=100, chunks=numbers, more_args={"y": 1}
    )

    assert results_of(registry) == [100 + 2 + (2 * i) + (2 * i + 1) for i in range(10)]


def test_without_init_a_fold_begins_with_its_first_element(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_reduce(lambda aggr, x: aggr + x, ["abcd", "e"], chunks=[1, 2])

    assert results_of(registry) == ["abcd", "e"]


def test_blocks_are_in_the_order_of_their_numbers(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_reduce(lambda aggr, x: aggr + x, ["a", "b", "c", "d"], chunks=[7, 2, 7, 2])

    assert registry.get_job_pars()["job_pars"].tolist() == [{"xs": ["b", "d"]}, {"xs": ["a", "c"]}]
    assert results_of(registry) == ["bd", "ac"]


def test_each_element_is_a_block_where_no_chunks_are_given(make_here: MakeHere) -> None:
    registry = make_here()

    assert len(registry.batch_reduce(add, [3, 4, 5], init=1)) == 3
    assert results_of(registry) == [4, 5, 6]


def test_what_a_job_does_to_init_no_other_sees(make_here: MakeHere) -> None:
    registry = make_here()

    def gather(aggr: list[int], x: int) -> list[int]:
        aggr.append(x)
        return aggr

    registry.batch_reduce(gather, range(4), init=[], chunks=[1, 1, 2, 2])

    assert results_of(registry) == [[0, 1], [2, 3]]


def test_a_function_that_names_job_gets_it(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_reduce(lambda aggr, x, job: aggr + x + job.id, [1, 2, 3, 4], chunks=[1, 1, 2, 2])

    assert results_of(registry) == [1 + 2 + 1, 3 + 4 + 2]


def test_a_static_value_may_be_called_like_the_block(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_reduce(lambda aggr, x, xs: aggr + x + xs, [1, 2], init=0, more_args={"xs": 10})

    assert results_of(registry) == [11, 12]


def test_an_empty_vector_makes_no_jobs(make_here: MakeHere) -> None:
    assert len(make_here().batch_reduce(add, [])) == 0


@pytest.mark.parametrize(
    ("fun", "options", "said"),
    [
        (lambda x: x, {}, "too many positional arguments"),
        (lambda aggr, x, z: aggr, {}, "missing a required argument: 'z'"),
        (lambda aggr, x: aggr, {"more_args": {"k": 1}}, "unexpected keyword argument 'k'"),
        (lambda aggr, x: aggr, {"more_args": {"x": 1}}, "multiple values for argument 'x'"),
        (lambda aggr, x: aggr, {"more_args": [1]}, "more_args cannot be a list"),
        (lambda aggr, x: aggr, {"chunks": [1]}, "1 chunk numbers for 3 elements"),
        (lambda aggr, x: aggr, {"chunks": [1, 2, -1]}, "none below 0"),
        (lambda aggr, x: aggr, {"chunks": [1, 2, 0.5]}, "whole numbers"),
        (7, {}, "7 is no function"),
    ],
)
def test_what_cannot_be_folded_is_refused_and_nothing_is_written(
    make_here: MakeHere, fun: Any, options: dict[str, Any], said: str
) -> None:
    registry = make_here()
    with pytest.raises(DefinitionError, match=said):
        registry.batch_reduce(fun, range(3), **options)

    assert len(registry.find_jobs()) == 0
    assert not list(registry.paths.objects.iterdir())


def test_a_function_that_cannot_be_sent_is_refused_by_its_name(make_here: MakeHere) -> None:
    lock = threading.Lock()

    def guarded(aggr: int, x: int) -> int:
        with lock:
            return aggr + x

    with pytest.raises(bp.BatchpilotError, match=r"guarded.*its part `lock`"):
        make_here().batch_reduce(guarded, range(3))


def test_a_reduction_needs_an_empty_registry(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_map(abs, x=[1])

    with pytest.raises(DefinitionError, match="holds 1 jobs already"):
        registry.batch_reduce(add, range(3))


def test_the_code_shown_is_the_users_function(make_here: MakeHere) -> None:
    registry = make_here()
    registry.batch_reduce(add, range(3))
    registry.submit_jobs()
    shown = registry.read_code(1).function

    assert shown is not None
    assert shown.name == "add"


def test_an_export_goes_before_a_global_of_the_folded_function(make_here: MakeHere) -> None:
    registry = make_here()
    names: dict[str, Any] = {"offset": 1, "__name__": "gone"}
    exec("def shift(aggr, x):\n    return aggr + x + offset", names)  # noqa: S102 - a function by value
    registry.batch_export({"offset": 100})
    registry.batch_reduce(names["shift"], [1, 2], init=0)

    assert results_of(registry) == [101, 102]
