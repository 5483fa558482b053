"""Job ids: the sequence that finding returns, and what calls accept for them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpilot.errors import DefinitionError
from batchpilot.ids import BatchpilotWarning, JobIds, coerce_ids, parse_selector

from .conftest import Make


EVERYONE = np.ones(20, np.uint8)
SETS = st.sets(st.integers(1, 60))


@given(SETS, SETS)
def test_operators_are_those_of_sets(left: set[int], right: set[int]) -> None:
    a, b = JobIds(left), JobIds(right)

    assert set(a & b) == left & right
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert list(a | b) == sorted(left | right)


@given(SETS)
def test_it_is_a_sorted_sequence_of_ints(ids: set[int]) -> None:
    jobs = JobIds(ids)

    assert list(jobs) == sorted(ids)
    assert [jobs[at] for at in range(len(jobs))] == sorted(ids)
    assert all(type(job) is int for job in jobs)
    assert all(job in jobs for job in ids)
    assert 61 not in jobs
    assert JobIds([job for a, b in jobs.ranges() for job in range(a, b + 1)]) == jobs


def test_slices_are_ids_too() -> None:
    assert JobIds(range(1, 11))[2:8:2] == JobIds([3, 5, 7])
    with pytest.raises(DefinitionError, match="sorted"):
        JobIds([1, 2])[::-1]


def test_other_kinds_of_ids_take_part_in_operators() -> None:
    jobs = JobIds([1, 2, 3])

    assert jobs & [2, 5] == JobIds([2])
    assert range(2, 6) - jobs == JobIds([4, 5])
    assert np.array([3, 4]) & jobs == JobIds([3])
    assert (np.array([4]) | jobs) == JobIds(range(1, 5))


def test_equal_ids_have_equal_hashes_and_survive_pickling() -> None:
    jobs = JobIds([5, 1])

    assert {jobs: "x"}[JobIds([1, 5])] == "x"
    assert pickle.loads(pickle.dumps(jobs)) == jobs  # noqa: S301 - pickled in this line
    assert jobs == [1, 5]
    assert jobs != [5, 1]


def test_ids_cannot_be_changed() -> None:
    array = np.asarray(JobIds([1, 2]))

    with pytest.raises(ValueError, match="read-only"):
        array[0] = 7
    assert np.asarray(JobIds([1, 2]), dtype=float).dtype == float


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], "JobIds()  # 0 jobs"),
        ([7], "JobIds(7)  # 1 job"),
        ([*range(1, 11), 15], "JobIds(1-10, 15)  # 11 jobs"),
        (range(1, 41, 2), "JobIds(1, 3, 5, 7, 9, 11, 13, ..., 39)  # 20 jobs"),
    ],
)
def test_the_repr_is_short(ids: Any, text: str) -> None:
    assert repr(JobIds(ids)) == text


@pytest.mark.parametrize(
    "ids",
    [
        3,
        range(3, 4),
        [3],
        (3.0,),
        {3},
        np.array([3]),
        np.int32(3),
        JobIds(3),
        pd.Series([3]),
        pd.Series([3], dtype="Int64"),
        pd.DataFrame({"job_id": [3], "chunk": [1]}),
        pd.DataFrame({"x": [1]}, index=pd.Index([3], name="job_id")),
        iter([3]),
    ],
    ids=lambda ids: f"{type(ids).__name__}{getattr(ids, 'shape', '')}{getattr(ids, 'dtype', '')}",
)
def test_ids_come_in_many_kinds(ids: Any) -> None:
    assert coerce_ids(ids, states=EVERYONE).tolist() == [3]


@pytest.mark.parametrize(
    ("ids", "word"),
    [
        ("done", "'done'"),
        (["1", "2"], "'1'"),
        ([1, "x"], "'1'"),
        ([True], "True"),
        ([1.5], "1.5"),
        ([float("nan")], "nan"),
        ([[1, 2]], "[1, 2]"),
        (pd.DataFrame({"a": [1]}), "columns a"),
        (slice(3), "slice"),
        ([2**70], str(2**70)[:10]),
    ],
    ids=str,
)
def test_what_is_no_id_is_refused_by_name(ids: Any, word: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        coerce_ids(ids, states=EVERYONE)

    assert word in str(caught.value)


def test_duplicates_are_an_error() -> None:
    with pytest.raises(DefinitionError, match="duplicated ids: 2"):
        coerce_ids([1, 2, 2], states=EVERYONE)


def test_unknown_ids_are_dropped_with_a_warning_here() -> None:
    with pytest.warns(BatchpilotWarning, match=r"Ignoring 2 invalid job id\(s\): 0, 21") as caught:
        ids = coerce_ids([0, 5, 21], states=EVERYONE)

    assert ids.tolist() == [5]
    assert caught[0].filename == __file__


def test_the_order_given_is_kept_on_request() -> None:
    assert coerce_ids([5, 2, 9], states=EVERYONE, keep_order=True).tolist() == [5, 2, 9]
    assert coerce_ids([5, 2, 9], states=EVERYONE).tolist() == [2, 5, 9]


def test_none_stands_for_the_default() -> None:
    assert coerce_ids(None, states=EVERYONE, default=lambda: JobIds([4])).tolist() == [4]
    with pytest.raises(DefinitionError, match="no ids given"):
        coerce_ids(None, states=EVERYONE)


def test_selectors_name_ids_states_and_tags(hand_made: Make) -> None:
    hand = hand_made()
    hand.submit([1, 2, 3])
    hand.done(1, 1)
    hand.error(2)
    reg = hand.registry
    reg.add_job_tags([9, 10], "late")

    assert parse_selector("1-3,8", reg) == JobIds([1, 2, 3, 8])
    assert parse_selector("@error, @not-submitted", reg) == JobIds([2, *range(4, 11)])
    assert parse_selector("tag:late,1", reg) == JobIds([1, 9, 10])
    assert parse_selector("all", reg) == JobIds(range(1, 11))
    with pytest.warns(BatchpilotWarning, match="invalid"):
        assert parse_selector("9-1000000000000", reg) == JobIds([9, 10])
    with pytest.raises(DefinitionError, match="'@nowhere' selects no jobs"):
        parse_selector("@nowhere", reg)
