"""`why` and `grep` on registries made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.book import open_book
from tests.core.conftest import HandMade

from .conftest import Call, Document


def test_why_shows_each_reason_with_its_remedy(
    tmp_path: Path, call: Call, document: Document
) -> None:
    where = tmp_path / "study"
    with open_book(where) as book:
        book.define(3)
        book.queue([1, 2])

        code, out, err = call("why", where, 2)
        told = document("why", "why", where, 2)

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Job 2: queued"
    assert lines[1].endswith(" ago, behind 1 job of its class")
    assert lines[2:4] == [
        "  the coordinator is not running",
        f"    -> batchpilot wait {where}",
    ]
    assert (told["job_id"], told["state"]) == (2, "queued")
    assert [reason["cause"] for reason in told["reasons"]] == [
        "queued",
        "no-coordinator",
        "no-agent",
    ]


@pytest.mark.parametrize(("ids", "code"), [("99", 3), ("1-2", 2), ("", 2)])
def test_why_explains_one_job(tmp_path: Path, call: Call, ids: str, code: int) -> None:
    with open_book(tmp_path / "study") as book:
        book.define(3)

        ended, out, err = call("why", tmp_path / "study", *([ids] if ids else []))

    assert (ended, out) == (code, "")
    assert "Error: " in err


def test_grep_shows_the_lines_that_match(lecture: HandMade, call: Call, document: Document) -> None:
    lecture.done(9, 10, log=[b"Job [9]\nnot converged\n"])
    where = lecture.registry.file_dir

    assert call("grep", where, r"^job [23]$") == (0, "2: job 2\n3: job 3\n", "")
    assert call("grep", where, "-i", "^job", "--jobs", "8-9")[1] == "8: job 8\n9: Job [9]\n"
    assert call("grep", where, "-F", "[9]") == (0, "9: Job [9]\n", "")
    assert call("grep", where, "nowhere") == (0, "", "No log matches.\n")
    assert document("grep", "grep", where, "[9]|not")["matches"] == [
        {"job_id": 9, "lines": ["Job [9]", "not converged"]}
    ]


def test_grep_takes_the_registry_here_where_none_is_named(
    lecture: HandMade, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = lecture.registry.file_dir
    (where.parent / "registry").symlink_to(where)
    monkeypatch.chdir(where.parent)

    assert call("grep", "job 2") == (0, "2: job 2\n", "")


@pytest.mark.parametrize(
    ("words", "code"), [([], 2), (["a", "b", "c"], 2), (["no-registry", "x"], 3)], ids=str
)
def test_grep_refuses_what_it_cannot_search(call: Call, words: list[str], code: int) -> None:
    assert call("grep", *words)[:2] == (code, "")


def test_grep_refuses_what_is_no_pattern(lecture: HandMade, call: Call) -> None:
    code, out, err = call("grep", lecture.registry.file_dir, "(")

    assert (code, out) == (1, "")
    assert "'(' is no regular expression" in err
