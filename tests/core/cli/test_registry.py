"""The commands on a real registry whose jobs ran in this process: no broker, no coordinator."""

from __future__ import annotations

import csv
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from batchpilot import pools
from batchpilot.registry.whole import make_registry

from .conftest import SCHEMAS, Call, Document


def risky(x: int, label: str) -> dict[str, Any]:
    print(f"looking at {label} {x}")  # noqa: T201 - what `log` shows
    if x >= 3:
        raise ValueError(f"{x} is too much")
    return {"square": x * x, "name": label}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six jobs: 1 and 2 are done, 3 to 5 have failed, 6 is not submitted."""
    directory = tmp_path_factory.mktemp("cli") / "study"
    with make_registry(directory, seed=1) as registry:
        registry.pools = pools.Interactive()
        registry.batch_map(risky, x=range(1, 7), label=["a", "b", "c"])
        registry.add_job_tags([2, 3], "middle")
        registry.submit_jobs(range(1, 6), {"walltime": 60})
    return directory


@pytest.fixture
def told(document: Document) -> Document:
    """Give a function that returns what a command writes with --json; it has its schema's name."""
    return lambda name, *words: document(name, *name.split(), *words)


def test_docs_have_a_schema_for_every_read_command() -> None:
    assert set(SCHEMAS) == {
        *("status", "jobs", "jobs --code", "errors", "log", "grep", "why", "results"),
        *("agents list", "coordinator status", "broker status", "doctor"),
    }


def test_status_counts_and_groups_errors_while_nothing_runs(
    study: Path, call: Call, told: Document
) -> None:
    code, out, err = call("status", study)
    document = told("status", study)

    assert (code, err) == (0, "")
    assert f"Registry {study}" in out
    assert "Status for 6 jobs at" in out
    assert "  Submitted    : 5 ( 83.3%)" in out
    assert "      3 x ValueError: 3 is too much  (jobs 3-5)" in out
    assert "Coordinator: not running\nBroker: not running" in out
    assert document["jobs"] == {
        "defined": 6,
        "submitted": 5,
        "started": 5,
        "done": 2,
        "error": 3,
        "queued": 0,
        "running": 0,
        "expired": 0,
        "system": 0,
    }
    assert document["errors"] == [
        {"message": "ValueError: 3 is too much", "count": 3, "job_ids": [3, 4, 5]}
    ]


def test_jobs_are_listed_with_state_parameters_tags_and_error(
    study: Path, call: Call, told: Document
) -> None:
    code, out, _ = call("jobs", study)
    jobs = told("jobs", study)["jobs"]

    assert code == 0
    assert re.search(
        r"^ 3  error +[\d.]+ s  x=3, label=c +middle  ValueError: 3 is too much$", out, re.MULTILINE
    )
    assert [job["state"] for job in jobs] == ["done"] * 2 + ["error"] * 3 + ["not-submitted"]
    assert jobs[1]["pars"] == {"x": 2, "label": "b"}
    assert jobs[1]["tags"] == ["middle"]
    assert jobs[1]["resources"] == {"walltime": 60}
    assert jobs[5] == {
        **dict.fromkeys(jobs[5]),
        "job_id": 6,
        "state": "not-submitted",
        "pars": {"x": 6, "label": "c"},
        "tags": [],
    }


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--state", "error"], [3, 4, 5]),
        (["1-4", "--state", "error"], [3, 4]),
        (["tag:middle"], [2, 3]),
        (["@not-done,1"], [1, 3, 4, 5, 6]),
        (["--limit", "2"], [1, 2]),
    ],
    ids=str,
)
def test_jobs_can_be_chosen(study: Path, words: list[str], ids: list[int], told: Document) -> None:
    assert [job["job_id"] for job in told("jobs", study, *words)["jobs"]] == ids


def test_a_table_that_is_cut_says_so(study: Path, call: Call) -> None:
    _, out, err = call("jobs", study, "--limit", 2)

    assert len(out.splitlines()) == 3
    assert err == "The first 2 of 6; more with --limit.\n"


def test_the_registry_is_looked_for_in_the_working_directory(
    study: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.parent)
    assert call("jobs", "3")[0] == 3

    study.rename(study.with_name("registry"))
    try:
        code, out, _ = call("log", "3")
    finally:
        study.with_name("registry").rename(study)
    assert code == 0
    assert out.startswith("looking at c 3\n")


def test_errors_are_grouped_and_one_is_pointed_at(study: Path, call: Call, told: Document) -> None:
    code, out, err = call("errors", study)
    document = told("errors", study)

    assert code == 0
    assert "   3  3-5  ValueError: 3 is too much" in out
    assert f"batchpilot log {study} 3" in err
    assert document["errors"][0]["job_ids"] == [3, 4, 5]
    assert document["resubmitted"] == 0


def test_a_log_has_the_output_and_the_traceback(study: Path, call: Call, told: Document) -> None:
    code, out, _ = call("log", study, 3)
    lines = told("log", study, 3)["lines"]

    assert code == 0
    assert out.splitlines() == lines
    assert lines[0] == "looking at c 3"
    assert lines[-1] == "ValueError: 3 is too much"
    assert call("log", study, 3, "-f") == (0, out, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["log", "STUDY", 99], 3),
        (["log", "STUDY", 6], 3),
        (["log", "STUDY", "1-2"], 2),
        (["log", "STUDY", "1", "-f", "--json"], 2),
        (["kill", "STUDY", "99"], 3),
        (["jobs", "STUDY", "@nonsense"], 2),
        (["reset", "STUDY"], 2),
        (["results", "STUDY", "-o", "table.xyz"], 2),
        (["results", "STUDY", "-o", "/nonexistent/table.csv"], 1),
        (["submit", "STUDY", "6", "-r", "nonsense"], 2),
    ],
    ids=str,
)
def test_what_cannot_be_has_its_exit_code_and_nothing_on_stdout(
    study: Path, words: list[object], code: int, call: Call
) -> None:
    ended, out, err = call(*(study if word == "STUDY" else word for word in words))

    assert (ended, out) == (code, "")
    assert "Error: " in err


def test_results_are_shown_with_their_parameters(study: Path, call: Call, told: Document) -> None:
    code, out, err = call("results", study)

    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["job_id", "x", "label", "square", "name"],
        ["1", "1", "a", "1", "a"],
        ["2", "2", "b", "4", "b"],
    ]
    assert told("results", study, "2")["results"] == [
        {"job_id": 2, "job_pars": {"x": 2, "label": "b"}, "result": {"square": 4, "name": "b"}}
    ]


def test_results_are_saved_as_csv_json_and_pickle(study: Path, call: Call, tmp_path: Path) -> None:
    for suffix in ("csv", "json", "pickle"):
        assert call("results", study, "-o", tmp_path / f"t.{suffix}")[:2] == (0, "")

    with (tmp_path / "t.csv").open() as file:
        assert [row["square"] for row in csv.DictReader(file)] == ["1", "4"]
    saved = json.loads((tmp_path / "t.json").read_text())
    Draft202012Validator(SCHEMAS["results"]).validate(saved)
    frame = pickle.loads((tmp_path / "t.pickle").read_bytes())  # noqa: S301 - written above
    assert frame["square"].tolist() == [1, 4]


def test_daemons_that_do_not_run_are_told_so(study: Path, call: Call, told: Document) -> None:
    assert told("agents list", study)["agents"] == []
    assert told("coordinator status", study)["running"] is False
    assert told("broker status", study)["running"] is False
    assert call("coordinator", "status", study)[1] == "coordinator: not running\n"
    assert call("broker", "status", study)[1] == "broker: not running\n"


def test_waiting_ends_with_1_when_jobs_have_failed_and_0_when_all_are_done(
    study: Path, call: Call
) -> None:
    assert call("wait", study, "--quiet")[0] == 1
    assert call("wait", study, "1-2", "--quiet")[0] == 0


def test_submit_kill_and_reset_say_how_many(tmp_path: Path, call: Call) -> None:
    directory = tmp_path / "study"
    with make_registry(directory, seed=1) as registry:
        registry.pools = pools.Interactive()
        registry.batch_map(risky, x=[1, 2, 3], label="a")

    assert call("submit", directory, "1,3", "-r", "walltime=60")[:2] == (0, "2 jobs submitted\n")
    assert call("submit", directory)[:2] == (0, "1 job submitted\n")
    assert call("kill", directory, "all")[:2] == (0, "0 jobs killed\n")
    assert call("errors", directory, "--resubmit")[2].endswith("1 jobs submitted again\n")
    assert call("reset", directory, "1-2")[:2] == (0, "2 jobs reset\n")
    assert "x=1" in call("jobs", directory, "--state", "not-submitted")[1]
