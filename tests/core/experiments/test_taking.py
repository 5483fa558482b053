"""What functions take of designs."""

# ruff: noqa: ARG005 - functions here are looked at, not called

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchpilot.errors import DefinitionError
from batchpilot.experiments.designs import Design
from batchpilot.experiments.taking import ALGORITHM_OWN, PROBLEM_OWN, Taking


def plain(job: Any, data: Any, n: int, k: int = 2) -> None: ...


def check(fun: Callable[..., Any] | None, own: tuple[str, ...] = PROBLEM_OWN, **row: Any) -> None:
    taking = Taking.from_bytes(Taking.of(fun, own).to_bytes())
    taking.check(Design(name="p1", rows=(row,)))


@pytest.mark.parametrize("row", [{"n": 1}, {"n": 1, "k": 3}, {"k": 3, "n": 1}], ids=str)
def test_a_row_that_fits_is_taken(row: dict[str, Any]) -> None:
    check(plain, **row)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, r"plain\(\) of 'p1' needs 'n'; give n as a column"),
        ({"k": 1}, "needs 'n'"),
        ({"n": 1, "m": 2}, "has no parameter 'm'; its parameters are n, k"),
        ({"n": 1, "job": 2}, "cannot be called 'job'"),
        ({"n": 1, "data": 2}, "cannot be called 'data'"),
    ],
    ids=str,
)
def test_a_row_that_does_not_fit_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        check(plain, **row)


def test_one_row_of_many_that_does_not_fit_is_refused() -> None:
    design = Design(name="p1", rows=({"n": 1}, {"n": 2, "k": 1}, {"k": 1}))

    with pytest.raises(DefinitionError, match="needs 'n'"):
        Taking.of(plain, PROBLEM_OWN).check(design)


def test_instance_is_a_parameter_of_problems_and_none_of_algorithms() -> None:
    check(lambda instance: None, PROBLEM_OWN, instance=1)
    with pytest.raises(DefinitionError, match="'instance'"):
        check(lambda instance: None, ALGORITHM_OWN, instance=1)


@pytest.mark.parametrize(
    "fun", [None, lambda **any_name: None, dict], ids=["none", "lambda", "class"]
)
def test_where_any_name_goes_any_is_taken_but_the_reserved(fun: Any) -> None:
    check(fun, x=1)
    with pytest.raises(DefinitionError, match="cannot be called"):
        check(fun, job=1)


@pytest.mark.parametrize("fun", [7, "name", [len]], ids=["number", "text", "list"])
def test_what_is_no_function_is_refused(fun: Any) -> None:
    with pytest.raises(DefinitionError, match="no function"):
        Taking.of(fun, PROBLEM_OWN)


def test_a_parameter_without_a_name_is_refused() -> None:
    with pytest.raises(DefinitionError, match="takes obj by position only"):
        Taking.of(len, PROBLEM_OWN)
