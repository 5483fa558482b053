"""The parts of the command line that need no registry: words, groups, tables, JSON, the screen."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from batchpilot.cli.grouping import Group, group_failures, normalise, short_ids
from batchpilot.cli.output import make_table, plain, to_json
from batchpilot.cli.running import Resource
from batchpilot.cli.screen import duration, render, shorten
from batchpilot.cli.snapshot import PoolUse, Snapshot, use_by_pool
from batchpilot.cli.words import Target
from batchpilot.status import Status


NOT_RUNNING = {"running": False, "pid": None, "host": None}


def snapshot(**changes: Any) -> Snapshot:
    fields: dict[str, Any] = {
        "registry": "/study",
        "time": 1000.0,
        "jobs": Status(defined=10, submitted=10, started=4, done=3, error=1, queued=6, system=6),
        "pace": 2.0,
        "agents": (),
        "errors": (),
        "broker": NOT_RUNNING,
        "coordinator": NOT_RUNNING,
    }
    return Snapshot(**{**fields, **changes})


@pytest.mark.parametrize(
    ("words", "directory", "ids"),
    [
        ([], "registry", None),
        (["study"], "study", None),
        (["3"], "registry", "3"),
        (["@not-submitted"], "registry", "@not-submitted"),
        (["tag:a b"], "registry", "tag:a b"),
        (["all"], "registry", "all"),
        (["./3", "1-10,15"], "./3", "1-10,15"),
        (["study", "1", "2", "@error"], "study", "1,2,@error"),
        (["1,2,", "7"], "registry", "1,2,,7"),
        (["1nn"], "1nn", None),
    ],
    ids=str,
)
def test_reg_and_ids_are_told_apart(words: list[str], directory: str, ids: str | None) -> None:
    assert Target.of(words) == Target(directory=directory, ids=ids)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=3600", 3600),
        ("a=1.5", 1.5),
        ("a=true", True),
        ("a=long", "long"),
        ("a=", ""),
        ("a=[1]", "[1]"),
    ],
)
def test_a_resource_is_a_number_a_truth_or_a_text(text: str, value: object) -> None:
    read = Resource().convert(text, None, None)

    assert read == ("a", value)
    assert type(read[1]) is type(value)


def test_messages_that_differ_only_in_numbers_are_one_group() -> None:
    groups = group_failures(
        [
            (1, "ValueError: no column 7 in <Frame at 0x7f32>"),
            (2, "KeyError: 'x'"),
            (3, "ValueError: no column -1.5e3 in <Frame at 0xbeef>"),
            (4, "ValueError: no\ncolumn 8 in  <Frame at 0x1>"),
        ]
    )

    assert [(g.count, g.ids) for g in groups] == [(3, [1, 3, 4]), (1, [2])]
    assert groups[0].message == "ValueError: no column 7 in <Frame at 0x7f32>"


def test_words_are_not_taken_for_hashes() -> None:
    assert normalise("effaced deadbeef0 feedback") == "effaced # feedback"


def test_ids_are_shortened() -> None:
    assert short_ids([7]) == "7"
    assert short_ids([1, 3, 5, 7]) == "1,3,5,..."


def test_json_is_strict_and_says_what_it_can() -> None:
    document = json.loads(
        to_json(
            {
                "f": float("nan"),
                "inf": np.float64("inf"),
                "n": np.int64(3),
                "a": np.array([[1.5, np.nan]]),
                "t": (1, {2}),
                "nat": pd.NaT,
                "na": pd.NA,
                "when": pd.Timestamp("2026-01-02T03:04:05Z"),
                "d": {1: b"x"},
                "long": np.longdouble(1),
            }
        )
    )

    assert document.pop("long").startswith("np.longdouble")
    assert document == {
        "schema": 1,
        "f": None,
        "inf": None,
        "n": 3,
        "a": [[1.5, None]],
        "t": [1, "{2}"],
        "nat": None,
        "na": None,
        "when": "2026-01-02T03:04:05+00:00",
        "d": {"1": "b'x'"},
    }


def test_plain_keeps_truths() -> None:
    assert plain([True, np.bool_(False), None]) == [True, False, None]


def test_a_plain_table_is_aligned_and_takes_brackets_literally() -> None:
    out = io.StringIO()
    rows = [(1, "[red]a[/red]"), (10, "b")]
    Console(file=out, width=60, markup=False).print(make_table(("id", "x"), rows, right=("id",)))

    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "id  x",
        " 1  [red]a[/red]",
        "10  b",
    ]


def test_agents_are_counted_by_pool() -> None:
    known = [
        {"pool": "ssh", "slots": 8, "busy": 0},
        {"pool": "local", "slots": 2, "busy": 1},
        {"pool": "ssh", "slots": 8, "busy": 8},
    ]

    assert list(use_by_pool(known)) == [
        PoolUse(pool="local", agents=1, slots=2, busy=1),
        PoolUse(pool="ssh", agents=2, slots=16, busy=8),
    ]


def test_the_screen_tells_counts_pace_time_left_agents_errors_and_daemons() -> None:
    lines = render(
        snapshot(
            agents=(PoolUse(pool="local", agents=1, slots=2, busy=2),),
            errors=(Group(message="ValueError: " + 40 * "no ", ids=[4, 5, 9]),),
            coordinator={"running": True, "pid": 7, "host": "n1", "term": 2},
            broker={"running": True, "url": "unix:///s", "version": "Valkey 9"},
        )
    ).plain.splitlines()

    assert lines[0] == "Registry /study"
    assert lines[1].startswith("Status for 10 jobs at ")
    assert lines[9] == "[" + 16 * "#" + 24 * "." + "]  40.0 %  2.0 jobs/s, about 3.0 s left"
    assert lines[10] == "Agents of pool local: 1 agent, 2 of 2 slots busy"
    assert lines[11] == "Errors: 1, expired: 0"
    assert lines[12].startswith("      3 x ValueError: no no ")
    assert lines[12].endswith("...  (jobs 4-5,9)")
    assert lines[13:] == [
        "Coordinator: running, process 7 on n1, term 2",
        "Broker: running, Valkey 9 at unix:///s",
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status(), "No jobs yet: define them with reg.batch_map(...)"),
        (Status(defined=3), "Nothing submitted yet: batchpilot submit /study"),
        (Status(defined=3, submitted=2, started=2, done=2), "100.0 %  all ended"),
        (Status(defined=3, submitted=2, queued=2, system=2), "0.0 %  2 to go"),
    ],
)
def test_the_screen_says_what_to_do_next_when_nothing_runs(status: Status, said: str) -> None:
    text = render(snapshot(jobs=status, pace=None)).plain

    assert said in text
    assert text.endswith("Agents: none\nCoordinator: not running\nBroker: not running")


def test_a_slow_pace_is_told_per_hour() -> None:
    assert "36 jobs/h, about 10 min 0 s left" in render(snapshot(pace=0.01)).plain


def test_times_are_told_as_people_say_them() -> None:
    assert [duration(s) for s in (0, 9.94, 9.96, 59.6, 3599.6, 86399.9, 90000)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "1 min 0 s",
        "1 h 0 min",
        "1 d 0 h",
        "1 d 1 h",
    ]


def test_texts_are_cut_only_where_they_do_not_fit() -> None:
    assert (shorten("12345", 5), shorten("123456", 5)) == ("12345", "12...")
