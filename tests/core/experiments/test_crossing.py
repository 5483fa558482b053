"""Crossing designs: order, binding, replications."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from batchpilot.errors import DefinitionError
from batchpilot.experiments.crossing import cross, read_repls
from batchpilot.experiments.designs import Design


def design(name: str, *values: Any) -> Design:
    return Design(name=name, rows=tuple({"v": value} for value in values) or ({},))


def pars(problems: list[Design], algorithms: list[Design], combine: str) -> list[tuple[Any, ...]]:
    wanted, _ = cross(problems, algorithms, [1] * len(problems), combine)
    return [(w.problem, w.algorithm, *(row.get("v") for row in w.pars)) for w in wanted]


def test_rows_of_problems_are_slowest_within_each_pair_of_designs() -> None:
    found = pars(
        [design("p1", 1, 2), design("p2")], [design("a1", 3, 4), design("a2")], "crossprod"
    )

    assert found == [
        ("p1", "a1", 1, 3),
        ("p1", "a1", 1, 4),
        ("p1", "a1", 2, 3),
        ("p1", "a1", 2, 4),
        ("p1", "a2", 1, None),
        ("p1", "a2", 2, None),
        ("p2", "a1", None, 3),
        ("p2", "a1", None, 4),
        ("p2", "a2", None, None),
    ]


def test_bound_rows_stand_side_by_side_and_the_shorter_are_recycled() -> None:
    found = pars([design("p", 1, 2, 3)], [design("a", 4, 5), design("b")], "bind")

    assert [row[2:] for row in found] == [(1, 4), (2, 5), (3, 4), (1, None), (2, None), (3, None)]


def test_equal_rows_make_one_definition() -> None:
    wanted, asked = cross([design("p", 1, True, 1.0, np.int8(1))], [design("a")], [3], "crossprod")

    assert [w.pars[0]["v"] for w in wanted] == [1, True]
    assert asked == 12


def test_keys_tell_problems_from_algorithms() -> None:
    one, _ = cross([design("p", 1)], [design("a")], [1], "crossprod")
    other, _ = cross([design("p")], [design("a", 1)], [1], "crossprod")

    assert one[0].key != other[0].key
    assert one[0].prob_key == other[0].algo_key


def test_another_way_to_combine_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'crossprod' or 'bind'"):
        cross([], [], [], "cbind")


@pytest.mark.parametrize(
    ("given", "designs", "repls"),
    [
        (2, 3, [2, 2, 2]),
        ([1, 2], 4, [1, 2, 1, 2]),
        ([1, 2], 3, [1, 2, 1]),
        (np.int64(3), 1, [3]),
        (np.array([1, 2]), 2, [1, 2]),
        (5, 0, []),
    ],
    ids=str,
)
def test_replications_are_recycled_along_problem_designs(
    given: Any, designs: int, repls: list[int]
) -> None:
    assert read_repls(given, designs) == repls


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "2", None, [], [1, 0], {1: 2}], ids=str)
def test_what_is_no_number_of_replications_is_refused(given: Any) -> None:
    with pytest.raises(DefinitionError, match="no number of replications"):
        read_repls(given, 2)


def test_more_numbers_than_designs_are_refused() -> None:
    with pytest.raises(DefinitionError, match="3 numbers in repls for 2"):
        read_repls([1, 2, 3], 2)
