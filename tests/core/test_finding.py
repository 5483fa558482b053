"""Finding and counting jobs, against the values of golden/g01 and g07 where they have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchpilot.errors import DefinitionError, JobsNotFound, UnknownName
from batchpilot.ids import BatchpilotWarning, JobIds
from batchpilot.status import Status

from .conftest import HandMade, Make


HERE = Path(__file__).parents[1] / "golden"
G01 = json.loads((HERE / "g01_lecture_map.json").read_text())
G07 = json.loads((HERE / "g07_find.json").read_text())


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.fixture
def mixed(hand_made: Make) -> HandMade:
    """Ten jobs: 1-2 done, 3 error, 4 expired in its run, 5 expired before, 6 runs, 7 queued."""
    hand = hand_made()
    hand.submit(range(1, 8))
    hand.done(1, "x")
    hand.done(2, "y", agent="a2")
    hand.error(3)
    hand.expired(4, "walltime of 10 s")
    hand.expired(5, "no pool fits", started=0.0)
    hand.run(6)
    return hand


def test_the_lecture_counts_as_in_batchtools(lecture: HandMade, hand_made: Make) -> None:
    fresh = hand_made(lambda i, j: i + j, i=range(1, 10), j=range(9, 0, -1))

    assert fresh.registry.get_status().as_dict() == G01["status_before"]["value"]
    assert lecture.registry.get_status().as_dict() == G01["status_after"]["value"]
    head, *lines = str(lecture.registry.get_status()).split("\n")
    assert head.startswith("Status for 9 jobs at 2")
    assert lines == G01["status_print"]["value"][1:]


def test_no_jobs_print_sensibly() -> None:
    assert "Submitted    : 0 (  0.0%)" in str(Status())


def test_the_lecture_is_found_by_its_parameters(lecture: HandMade) -> None:
    reg = lecture.registry

    assert list(reg.find_jobs("i == 2 & j == 8")) == as_list(G01["findJobs_i2_j8"]["value"])
    assert list(reg.find_jobs("i >= 7")) == G01["findJobs_i_ge_7"]["value"]
    assert list(reg.find_done()) == G01["findDone"]["value"]


def test_expressions_find_what_batchtools_finds(hand_made: Make) -> None:
    reg = hand_made(i=range(1, 6), j=[1, 3, 2, 4, 5], s=["a", "b", "a", "b", "c"]).registry
    n = 2  # the golden file holds answers only; these vectors have them

    assert list(reg.find_jobs("i == 1")) == as_list(G07["i_eq_1"]["value"])
    assert list(reg.find_jobs("i >= 3")) == G07["i_ge_3"]["value"]
    assert list(reg.find_jobs("i >= 3 & j > 3")) == G07["i_ge_3_and_j_gt_3"]["value"]
    assert list(reg.find_jobs("i == n")) == as_list(G07["outer_variable"]["value"])
    assert list(reg.find_jobs("s in ['b']")) == G07["in_strings"]["value"]
    assert list(reg.find_jobs("s == 'b'", ids=[1, 2, 4])) == G07["with_ids"]["value"]
    assert list(reg.find_jobs("i > 100")) == G07["none"]["value"]
    assert list(reg.find_jobs(ids=[3, 1])) == G07["no_expr_ids"]["value"]
    assert n == 2
    with pytest.raises(UnknownName, match="'nope'"):
        reg.find_jobs("nope == 1")
    with pytest.raises(DefinitionError, match="int"):
        reg.find_jobs("i")


def test_large_values_are_looked_into_as_well(hand_made: Make) -> None:
    big = "x" * 100_000
    reg = hand_made(text=[big, "x", big + "y"]).registry

    assert list(reg.find_jobs("len(text) > 1")) == [1, 3]
    assert list(reg.find_jobs(lambda text: text.endswith("y"))) == [3]


def test_an_empty_registry_finds_nothing(hand_made: Make) -> None:
    reg = hand_made(i=[]).registry

    assert reg.find_jobs("i == 1") == JobIds()
    assert reg.find_done() == JobIds()
    assert reg.get_status().defined == 0


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("submitted", [1, 2, 3, 4, 5, 6, 7]),
        ("not_submitted", [8, 9, 10]),
        ("queued", [7]),
        ("started", [1, 2, 3, 4, 6]),
        ("not_started", [5, 7, 8, 9, 10]),
        ("running", [6]),
        ("on_system", [6, 7]),
        ("done", [1, 2]),
        ("not_done", [3, 4, 5, 6, 7, 8, 9, 10]),
        ("error", [3]),
        ("errors", [3]),
        ("expired", [4, 5]),
    ],
)
def test_each_state_is_found(mixed: HandMade, what: str, found: list[int]) -> None:
    find = getattr(mixed.registry, f"find_{what}")

    assert list(find()) == found
    assert list(find([2, 3, 5, 6, 7, 8])) == [job for job in found if job in (2, 3, 5, 6, 7, 8)]


def test_the_status_counts_the_same_as_finding(mixed: HandMade) -> None:
    reg = mixed.registry
    counted = reg.get_status().as_dict()
    part = reg.get_status([1, 3, 5, 8])

    for name in ("submitted", "started", "done", "error", "queued", "running", "expired"):
        assert counted[name] == len(getattr(reg, f"find_{name}")())
    assert counted["defined"] == 10
    assert counted["system"] == 2
    assert part == Status(defined=4, submitted=3, started=2, done=1, error=1, expired=1)


def test_unknown_ids_are_dropped_with_a_warning(mixed: HandMade) -> None:
    with pytest.warns(BatchpilotWarning, match="99") as caught:
        assert list(mixed.registry.find_done([1, 99])) == [1]

    assert caught[0].filename == __file__
    with pytest.raises(JobsNotFound, match="exactly one"):
        mixed.registry.load_result([1, 2])
