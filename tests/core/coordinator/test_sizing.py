"""Sizing: how many jobs make a chunk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpilot.coordinator.sizing import GROWTH, LARGEST, Sizer, target_seconds


C = "class"
MANY = 10**6


def taught(*seen: tuple[float, int]) -> Sizer:
    """Return a sizer that has seen chunks of (seconds, jobs)."""
    sizer = Sizer()
    for seconds, jobs in seen:
        sizer.observe(C, seconds, jobs)
    return sizer


def test_before_a_run_time_is_known_a_chunk_is_one_job() -> None:
    assert Sizer().size(C, MANY, 2) == 1
    assert Sizer().expected(C) is None


def test_classes_learn_apart() -> None:
    sizer = taught((0.001, 1))

    assert sizer.size("another", MANY, 2) == 1


def test_chunks_grow_at_most_eightfold() -> None:
    sizer, sizes = taught((1e-5, 1)), []
    for _ in range(6):
        size = sizer.size(C, MANY, 2)
        sizes.append(size)
        sizer.observe(C, size * 1e-5, size)

    assert sizes == [GROWTH, GROWTH**2, GROWTH**3, LARGEST, LARGEST, LARGEST]


def test_a_chunk_is_about_three_quarters_of_a_second_of_work() -> None:
    assert taught((1.0, 100), (1.0, 100)).size(C, MANY, 2) == 75


def test_a_longer_job_is_alone() -> None:
    assert taught((5.0, 1)).size(C, MANY, 2) == 1


def test_many_slots_get_longer_chunks() -> None:
    assert target_seconds(2) == 0.75
    assert target_seconds(5000) == 10.0
    assert target_seconds(10**6) == 60.0


def test_towards_the_end_chunks_shrink_so_that_all_slots_finish_together() -> None:
    sizer = taught((1.0, 100), (1.0, 100))

    assert sizer.size(C, 100, 2) == 25
    assert sizer.size(C, 10, 2) == 2
    assert sizer.size(C, 0, 2) == 2  # never less than 20 ms of work


def test_one_slow_chunk_moves_the_estimate_by_a_third() -> None:
    sizer = taught((1.0, 100), (2.0, 100))

    assert sizer.expected(C) == pytest.approx(0.013)


def test_a_chunk_of_no_jobs_teaches_nothing() -> None:
    assert taught((1.0, 0)).expected(C) is None


def test_the_budget_leaves_room_for_twice_what_is_expected() -> None:
    assert Sizer().budget(C, 1, 2) == 1.5
    assert taught((10.0, 1)).budget(C, 1, 2) == 20.0
    assert Sizer().budget(C, 1, 5000) == 20.0


@given(
    seen=st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, LARGEST)), max_size=8),
    remaining=st.integers(0, 10**9),
    slots=st.integers(1, 10**5),
)
def test_a_chunk_always_has_a_job_and_never_too_many(
    seen: list[tuple[float, int]], remaining: int, slots: int
) -> None:
    sizer = taught(*seen)

    size = sizer.size(C, remaining, slots)

    assert 1 <= size <= LARGEST
    assert sizer.budget(C, size, slots) >= 1.0


def test_sizes_are_being_learnt_until_a_chunk_may_hold_its_share_of_work() -> None:
    sizer = Sizer()
    sizer.observe("a", 0.001, 1)
    learning = [sizer.is_learning("a", 2)]
    for jobs in (8, 64, 512):
        sizer.observe("a", 0.001 * jobs, jobs)
        learning.append(sizer.is_learning("a", 2))

    assert learning == [True, True, True, False]
