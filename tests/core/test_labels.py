"""Names and tags, against golden/g07_find.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchpilot.errors import DefinitionError, ReadOnly
from batchpilot.ids import BatchpilotWarning, JobIds
from batchpilot.registry.whole import load_registry

from .conftest import HandMade, Make


G07 = json.loads((Path(__file__).parents[1] / "golden" / "g07_find.json").read_text())


@pytest.fixture
def tagged(hand_made: Make) -> HandMade:
    """Jobs 1-4 are tagged "walltime", 3-7 "broken", as in the golden script."""
    hand = hand_made()
    hand.registry.add_job_tags([1, 2, 3, 4], "walltime")
    hand.registry.add_job_tags(range(3, 8), "broken")
    return hand


def test_tags_are_those_of_batchtools(tagged: HandMade) -> None:
    reg = tagged.registry

    assert rows(reg.get_job_tags()) == golden_rows("getJobTags")
    assert reg.get_used_job_tags() == G07["used"]["value"]
    assert reg.get_used_job_tags([1, 2]) == [G07["used_1_2"]["value"]]
    assert list(reg.find_tagged(["walltime", "broken"])) == G07["findTagged_any"]["value"]
    assert list(reg.find_tagged("broken", range(3, 11))) == G07["findTagged_ids"]["value"]


def test_only_the_jobs_that_lose_a_tag_are_returned(tagged: HandMade) -> None:
    reg = tagged.registry

    assert list(reg.remove_job_tags(range(3, 11), "walltime")) == G07["remove"]["value"]
    assert rows(reg.get_job_tags()) == golden_rows("tags_after")
    assert reg.remove_job_tags(1, "unheard") == JobIds()


def test_tags_are_a_set_and_shown_sorted(hand_made: Make) -> None:
    reg = hand_made().registry

    assert reg.add_job_tags(9, "x") == reg.add_job_tags(9, "x")
    reg.add_job_tags(8, ["zz", "aa", "mm"])
    assert reg.get_job_tags(9)["tags"].tolist() == ["x"]
    assert rows(reg.get_job_tags(8)) == golden_rows("multi_tags")
    assert list(reg.add_job_tags(tags="all")) == list(range(1, 11))


@pytest.mark.parametrize("tags", ["a b", "", [], ["ok", "a,b"], [3]], ids=str)
def test_a_bad_tag_is_refused(hand_made: Make, tags: Any) -> None:
    reg = hand_made().registry

    with pytest.raises(DefinitionError, match="tag"):
        reg.add_job_tags(1, tags)
    assert reg.get_used_job_tags() == []
    with pytest.raises(DefinitionError, match="no tag given"):
        reg.find_tagged([])


def test_names_are_kept_in_the_order_given(hand_made: Make) -> None:
    reg = hand_made(i=range(1, 5)).registry
    reg.set_job_names([3, 1, 2], ["c", "a", "b"])

    assert rows(reg.get_job_names()) == golden_rows("names")
    reg.set_job_names(2, None)
    assert reg.get_job_names(2)["job_name"].tolist() == [None]
    with pytest.raises(DefinitionError, match="1 names for 2 jobs"):
        reg.set_job_names([1, 2], "x")
    with pytest.warns(BatchpilotWarning, match="99"):
        reg.set_job_names([99, 4], ["gone", "here"])
    assert reg.get_job_names(4)["job_name"].tolist() == ["here"]


def test_a_registry_open_for_reading_refuses_labels(tagged: HandMade) -> None:
    with load_registry(tagged.registry.file_dir, writeable=False) as reg:
        with pytest.raises(ReadOnly, match="reading"):
            reg.add_job_tags(1, "x")
        with pytest.raises(ReadOnly, match="reading"):
            reg.set_job_names(1, "x")
        assert reg.get_used_job_tags() == ["walltime", "broken"]


def rows(df: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = df.to_dict("records")
    return found


def golden_rows(name: str) -> list[dict[str, Any]]:
    return [
        {key.replace(".", "_"): value for key, value in row.items()} for row in G07[name]["value"]
    ]
