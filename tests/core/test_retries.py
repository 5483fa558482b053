"""Retries: what may be asked for, and what is refused before anything is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from batchpilot.errors import NoSuchPool, SubmissionError
from batchpilot.pools import Interactive, Local
from batchpilot.resources import make_class
from batchpilot.retries import check_growth, checked_retries


POOLS = [Local(slots=2, resources={"memory": 4000})]


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        (None, {}),
        (0, {}),
        (3, {"error": 3}),
        ({"memory": 2, "error": 1, "walltime": 0}, {"error": 1, "memory": 2}),
    ],
)
def test_a_number_counts_errors_and_nothing_is_not_kept(
    given: Any, checked: dict[str, int]
) -> None:
    assert checked_retries(given) == checked


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"lost": 1}, "'lost'"),
        ({7: 1}, "'7'"),
        ({"memory": -1}, "'memory': -1"),
        ({"memory": 21}, "'memory': 21"),
        ({"error": 1001}, "'error': 1001"),
        ({"walltime": "2"}, "'walltime': '2'"),
        (True, "'error': True"),
        (1.5, "'error': 1.5"),
    ],
)
def test_what_is_no_number_of_tries_is_refused_by_name(given: Any, named: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        checked_retries(given)

    assert named in caught.value.message
    assert caught.value.remedy


def growth(retries: dict[str, int], resources: dict[str, Any], pools: Any = POOLS) -> None:
    check_growth(retries, resources, make_class(resources, 0), pools)


def test_what_a_pool_can_serve_when_doubled_is_taken() -> None:
    growth({"memory": 2}, {"memory": 1000})
    growth({"memory": 20, "walltime": 20}, {"memory": 1000, "walltime": 5}, [Interactive()])


def test_what_no_pool_can_serve_when_doubled_is_refused_by_name() -> None:
    with pytest.raises(NoSuchPool) as caught:
        growth({"memory": 3, "walltime": 1}, {"memory": 1000, "walltime": 60})

    assert caught.value.message == (
        "the last retry would ask for memory=8000 and walltime=120: no pool can run these jobs "
        "(local: memory=8000 but its agents have 4000)"
    )


@pytest.mark.parametrize("name", ["memory", "walltime"])
def test_a_limit_that_is_not_there_cannot_be_doubled(name: str) -> None:
    with pytest.raises(SubmissionError, match=f"without a {name}"):
        growth({name: 1}, {"ncpus": 1})


def test_a_limit_beyond_all_numbers_is_refused_at_once() -> None:
    with pytest.raises(SubmissionError, match="must be numbers"):
        growth({"memory": 20}, {"memory": 2**60}, [Local(slots=1)])
