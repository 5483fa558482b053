"""Tables of jobs: their columns, order and contents."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pandas as pd
import pytest

import batchpilot as bp
from batchpilot_broker.nouns import Outcome

from .conftest import ENDED, STARTED, SUBMITTED, HandMade, Make


G01 = json.loads((Path(__file__).parents[1] / "golden" / "g01_lecture_map.json").read_text())


@pytest.fixture
def mixed(hand_made: Make) -> HandMade:
    """Six jobs: done, error, expired, running, queued, not submitted."""
    hand = hand_made(i=range(1, 7), s=list("abcdef"))
    hand.submit([1, 2, 3], {"walltime": 60, "memory": 500})
    hand.submit([4, 5])
    hand.done(1, 0)
    hand.error(2, "bad i", agent="a2")
    hand.expired(3, "walltime of 60 s")
    hand.run(4, agent="a2")
    return hand


def at(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(seconds, unit="s", tz="UTC")


def test_the_table_has_the_columns_of_batchtools_in_their_order(lecture: HandMade) -> None:
    table = lecture.registry.get_job_table()

    golden = [name.replace(".", "_") for name in G01["table_columns"]["value"]]
    assert table.columns.tolist() == golden
    assert table["job_id"].tolist() == G01["batchMap_ids"]["value"]


def test_parameters_of_the_lecture_are_those_of_batchtools(lecture: HandMade) -> None:
    pars = bp.unwrap(lecture.registry.get_job_pars())

    golden = [{k.replace(".", "_"): v for k, v in row.items()} for row in G01["pars"]["value"]]
    assert pars.to_dict("records") == golden


def test_resources_of_the_lecture_are_those_of_batchtools(lecture: HandMade) -> None:
    resources = lecture.registry.get_job_resources()["resources"]

    assert resources.tolist() == [G01["job_resources"]["value"]] * 9
    assert list(resources[0]) == sorted(resources[0])


def test_times_are_those_of_each_state(mixed: HandMade) -> None:
    table = mixed.registry.get_job_status()

    assert table["submitted"].tolist()[:5] == [at(SUBMITTED)] * 5
    assert table["started"].tolist()[:4] == [at(STARTED)] * 4
    assert table["done"].tolist()[:2] == [at(ENDED)] * 2
    assert table["submitted"].isna().tolist() == [False] * 5 + [True]
    assert table["started"].isna().tolist() == [False] * 4 + [True] * 2
    assert table["done"].isna().tolist() == [False] * 2 + [True] * 4
    assert table["time_queued"][0] == pd.Timedelta(seconds=STARTED - SUBMITTED)
    assert table["time_running"][0] == pd.Timedelta(seconds=ENDED - STARTED)
    assert str(table["submitted"].dtype).endswith("UTC]")


def test_who_ran_a_job_and_what_went_wrong(mixed: HandMade) -> None:
    table = mixed.registry.get_job_status()

    assert table["error"].tolist() == [None, "ValueError: bad i", None, None, None, None]
    assert table["batch_id"].tolist() == ["a1", "a2", "a1", "a2", None, None]
    assert table["log_file"].tolist() == ["a1.logs", "a2.logs", "a1.logs", "a2.logs", None, None]
    assert table["job_hash"].tolist() == ["e" * 12] * 5 + [None]
    assert table["mem_used"].isna().all()


def test_names_and_tags_stand_in_the_table(mixed: HandMade) -> None:
    reg = mixed.registry
    reg.set_job_names([2], ["second"])
    reg.add_job_tags([2, 3], ["b", "a"])
    table = reg.get_job_table([3, 2])

    assert table["job_id"].tolist() == [2, 3]
    assert table["job_name"].tolist() == ["second", None]
    assert table["tags"].tolist() == ["a,b", "a,b"]


def test_what_a_caller_does_to_a_table_is_no_others_business(mixed: HandMade) -> None:
    reg = mixed.registry
    table = reg.get_job_table()
    resources, pars = table["resources"].tolist(), table["job_pars"].tolist()
    resources[0]["walltime"] = 1
    pars[0]["i"] = 99

    assert resources[1]["walltime"] == 60
    assert reg.get_job_table()["job_pars"].tolist()[0] == {"i": 1, "s": "a"}
    assert table["resources"].tolist()[3:] == [{}, {}, None]


def test_error_messages_are_those_of_errors(mixed: HandMade) -> None:
    reg = mixed.registry
    messages = reg.get_error_messages()
    asked = reg.get_error_messages([1, 2, 3, 4], missing_as_error=True)

    assert messages.columns.tolist() == ["job_id", "terminated", "error", "message"]
    assert messages.to_dict("list") == {
        "job_id": [2],
        "terminated": [True],
        "error": [True],
        "message": ["ValueError: bad i"],
    }
    assert asked["terminated"].tolist() == [True, True, True, False]
    assert asked["error"].tolist() == [False, True, False, True]
    assert asked["message"].tolist() == [
        *(None, "ValueError: bad i", "walltime of 60 s", "[not terminated]"),
    ]


def test_the_last_of_several_records_in_one_event_counts(hand_made: Make) -> None:
    hand = hand_made()
    hand.submit([1, 2])
    rows = [(job, Outcome.DONE, pickle.dumps(result), ()) for job, result in ((2, "x"), (1, "y"))]
    hand.end("a1", [*rows, (2, Outcome.DONE, pickle.dumps("last"), ())])

    assert hand.registry.reduce_results_list([1, 2]) == ["y", "last"]


def test_no_jobs_give_an_empty_table(hand_made: Make) -> None:
    reg = hand_made(i=[]).registry

    assert len(reg.get_job_table()) == 0
    assert reg.get_job_table().columns.tolist()[:3] == ["job_id", "submitted", "started"]
    assert len(reg.get_error_messages()) == 0
    assert len(reg.results_frame()) == 0
