"""What finding, tags and names do where golden/g07 says it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, UnknownName

from .conftest import Make
from .golden import as_list, entries, value


def anything(**values: Any) -> dict[str, Any]:
    return values


@pytest.fixture
def five(make: Make) -> bp.Registry:
    """Give five jobs; the golden file holds answers only, these vectors have them."""
    return make(anything, i=range(1, 6), j=[1, 4, 2, 5, 9], x=[1.0, None, math.nan, 4.0, 5.0])


def test_functions_can_be_called_in_expressions(five: bp.Registry) -> None:
    square = np.square
    found = five.find_jobs("square(j) >= 16")

    assert list(found) == value("g07", "function_call")
    assert square(4) == 16


def test_a_verdict_must_be_one_truth(five: bp.Registry) -> None:
    with pytest.raises(DefinitionError, match="for job 1"):
        five.find_jobs("[i, j]")
    with pytest.raises(DefinitionError, match=r"\(int\) for job 1"):
        five.find_jobs("i")

    assert "length 1" in entries("g07")["non_scalar"]["error"]
    assert "logical" in entries("g07")["non_logical"]["error"]


def test_what_is_unknown_is_no_match(make: Make) -> None:
    registry = make(anything, x=[None, math.nan])

    assert list(registry.find_jobs("x == 1")) == value("g07", "NA_result")


def test_an_unknown_name_is_named_with_those_that_are_known(five: bp.Registry) -> None:
    with pytest.raises(UnknownName, match=r"'nope'.*i, j, x"):
        five.find_jobs("nope == 1")

    assert "'nope' not found" in entries("g07")["undefined_variable"]["error"]


def test_without_tags_there_is_nothing_to_find(make: Make) -> None:
    registry = make(anything, i=range(1, 11))
    wanted = value("g07", "tags_none")

    assert registry.get_used_job_tags() == wanted["used"]
    assert list(registry.find_tagged("x")) == wanted["found"]
    assert list(registry.remove_job_tags(tags="x")) == wanted["removed"]


def test_a_tag_given_twice_is_one_tag(make: Make) -> None:
    registry = make(anything, i=range(1, 11))
    registry.add_job_tags(9, "x")

    assert list(registry.add_job_tags(9, "x")) == as_list(value("g07", "tag_twice"))
    assert registry.get_job_tags(9)["tags"].tolist() == ["x"]


def test_tags_that_are_none_are_refused(make: Make) -> None:
    registry = make(anything, i=[1])

    with pytest.raises(DefinitionError, match="tag"):
        registry.add_job_tags(1, "a b")
    with pytest.raises(DefinitionError, match="no tag given"):
        registry.find_tagged([])
    assert "pattern" in entries("g07")["bad_tag"]["error"]
    assert "length >= 1" in entries("g07")["findTagged_empty"]["error"]


def test_as_many_names_as_jobs_are_needed(make: Make) -> None:
    registry = make(anything, i=range(1, 11))

    with pytest.raises(DefinitionError, match="1 names for 2 jobs"):
        registry.set_job_names([1, 2], "x")
    with pytest.raises(DefinitionError, match="None is no job id"):
        registry.set_job_names(None, [f"n{i}" for i in range(10)])
    assert "length 2" in entries("g07")["setJobNames_len"]["error"]
    assert registry.get_job_names()["job_name"].tolist() == [None] * 10
