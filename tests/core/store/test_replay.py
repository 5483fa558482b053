"""Replay: read the frames of a segment as the event that would have told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchpilot.store.replay import read_stretch
from batchpilot_broker.frames import NO_PART, STARTED, Kind, pack_frame, pack_row


ROW = pack_row((7, 1, 1, 0, 0, 0, 1.0, 2.0, NO_PART, 0.0), b"body")
OTHER = pack_row((8, 1, 2, 0, 0, 0, 1.0, 2.0, NO_PART, 0.0), b"longer body")
NOTE = pack_frame(Kind.CHUNK_STARTED, STARTED.pack(3, 1.0, 0))


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "a1.results"
    path.write_bytes(ROW + NOTE + OTHER)
    return path


def test_rows_and_notes_come_in_their_order_with_their_positions(segment: Path) -> None:
    stretch = read_stretch(segment, 0)

    assert stretch.rows["job"].tolist() == [7, 8]
    assert stretch.rows["pos"].tolist() == [0, len(ROW) + len(NOTE)]
    assert stretch.rows["size"].tolist() == [len(ROW), len(OTHER)]
    assert stretch.notes == ((Kind.CHUNK_STARTED, STARTED.pack(3, 1.0, 0)),)
    assert (stretch.end, stretch.gaps) == (segment.stat().st_size, ())


def test_a_stretch_begins_where_the_last_one_ended(segment: Path) -> None:
    first = read_stretch(segment, 0, len(ROW))
    second = read_stretch(segment, first.end)

    assert first.rows["job"].tolist() == [7]
    assert second.rows["job"].tolist() == [8]
    assert second.rows["pos"].tolist() == [len(ROW) + len(NOTE)]


@pytest.mark.parametrize("kept", [0, 1, 11, len(OTHER) - 1])
def test_a_record_that_is_not_whole_yet_is_left_for_later(segment: Path, kept: int) -> None:
    whole = len(ROW) + len(NOTE)
    segment.write_bytes(ROW + NOTE + OTHER[:kept])

    stretch = read_stretch(segment, 0)

    assert stretch.rows["job"].tolist() == [7]
    assert (stretch.end, stretch.gaps) == (whole, ())


def test_damaged_bytes_are_passed_over_and_reported(segment: Path) -> None:
    flipped = bytearray(ROW)
    flipped[20] ^= 1
    segment.write_bytes(bytes(flipped) + b"torn" + OTHER)

    stretch = read_stretch(segment, 0)

    assert stretch.rows["job"].tolist() == [8]
    assert stretch.gaps == ((0, len(ROW) + 4),)


def test_a_missing_segment_is_an_empty_one(tmp_path: Path) -> None:
    stretch = read_stretch(tmp_path / "none.results", 40)

    assert (len(stretch.rows), stretch.notes, stretch.end) == (0, (), 40)
