"""Logs of jobs: read, shown and searched."""

from __future__ import annotations

import pytest

from batchpilot.errors import DefinitionError, LogMissing
from batchpilot.ids import BatchpilotWarning, JobIds

from .conftest import HandMade, Make


@pytest.fixture
def logged(hand_made: Make) -> HandMade:
    """Job 1 wrote in parts among those of job 2; 3 failed, 4 expired, 5 runs, 6 is silent."""
    hand = hand_made()
    hand.submit(range(1, 9))
    hand.done(1, 0, log=[b"GREPME once\nprogress 10%\rprogress 20%\r", b"\nlast li", b"ne"])
    hand.done(2, 0, log=[b"other\r\n\xff\xfebytes\n\n"])
    hand.error(3, "went wrong", log=[b"before\n"])
    hand.expired(4, "walltime of 5 s")
    hand.run(5, log=b"so far\n")
    hand.done(6, 0)
    hand.run(7)
    return hand


def test_parts_of_a_log_are_put_together(logged: HandMade) -> None:
    assert logged.registry.get_log(1) == [
        "GREPME once",
        "progress 10%\rprogress 20%",
        "last line",
    ]


def test_bytes_that_are_no_text_are_shown_as_such(logged: HandMade) -> None:
    assert logged.registry.get_log(2) == ["other", "\ufffd\ufffdbytes", ""]


def test_what_ended_a_job_stands_below_its_output(logged: HandMade) -> None:
    assert logged.registry.get_log(3) == [
        "before",
        "Traceback (most recent call last):",
        "  in f",
        "ValueError: went wrong",
    ]
    assert logged.registry.get_log(4) == ["walltime of 5 s"]


def test_a_running_job_shows_what_was_mirrored(logged: HandMade) -> None:
    assert logged.registry.get_log(5) == ["so far"]
    assert logged.registry.get_log(7) == []


def test_a_silent_job_has_an_empty_log_and_a_queued_one_none(logged: HandMade) -> None:
    assert logged.registry.get_log(6) == []
    with pytest.raises(LogMissing, match="no log of job 8: it is queued"):
        logged.registry.get_log(8)
    with pytest.raises(LogMissing, match="not submitted"):
        logged.registry.show_log(9)


def test_a_log_is_printed_where_there_is_no_terminal(
    logged: HandMade, capsys: pytest.CaptureFixture[str]
) -> None:
    logged.registry.show_log(3)

    assert capsys.readouterr().out.startswith("before\nTraceback")


def test_lines_are_found_job_by_job(logged: HandMade) -> None:
    grep = logged.registry.grep_logs
    found = grep("e")

    assert found.columns.tolist() == ["job_id", "matches"]
    assert found["job_id"].tolist() == [1, 2, 3, 4]
    assert found["matches"][0] == "GREPME once\nprogress 10%\rprogress 20%\nlast line"
    assert found["matches"][2].split("\n")[0] == "before"
    assert JobIds(found) == JobIds(range(1, 5))


def test_searching_can_be_narrowed_and_widened(logged: HandMade) -> None:
    grep = logged.registry.grep_logs

    assert grep("grepme")["job_id"].tolist() == []
    assert grep("grepme", ignore_case=True)["job_id"].tolist() == [1]
    assert grep("20%|so far", ids=[1, 2])["job_id"].tolist() == [1]
    assert grep("20%|so far", fixed=True)["job_id"].tolist() == []
    assert grep("(", fixed=True)["job_id"].tolist() == [3]
    assert grep("x", ids=[8, 9])["job_id"].tolist() == []
    with pytest.warns(BatchpilotWarning, match="99"):
        assert len(grep("so far", ids=[5, 99])) == 1


@pytest.mark.parametrize("pattern", ["", "(", None])
def test_a_pattern_that_is_none_is_refused(logged: HandMade, pattern: str) -> None:
    with pytest.raises(DefinitionError, match=r"pattern|regular expression"):
        logged.registry.grep_logs(pattern)
