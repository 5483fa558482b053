"""Records of segments that are damaged, torn, gone or late."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from batchpilot.errors import StorageError, WireError
from batchpilot.store.outcomes import locate
from batchpilot.store.records import Records

from .conftest import HandMade, Make


@pytest.fixture
def done(hand_made: Make) -> HandMade:
    """Jobs 1 and 2 are done; their records stand in one segment."""
    hand = hand_made()
    hand.submit([1, 2])
    hand.done(1, "first", log=[b"one\n", b"more\n"])
    hand.done(2, "second")
    return hand


def segment(hand: HandMade) -> Path:
    return hand.registry.paths.results("a1")


def test_a_flipped_bit_is_found_and_hurts_only_its_job(done: HandMade) -> None:
    path = segment(done)
    data = bytearray(path.read_bytes())
    data[data.index(b"second")] ^= 1
    path.write_bytes(data)
    reg = done.registry

    assert reg.load_result(1) == "first"
    for collect in (lambda: reg.load_result(2), reg.reduce_results_list):
        with pytest.raises(WireError, match=r"a1.results .written on node7. is torn or damaged"):
            collect()


def test_a_torn_record_is_found(done: HandMade) -> None:
    path = segment(done)
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(WireError, match="torn"):
        done.registry.reduce_results_list()


def test_a_record_of_another_job_is_refused(done: HandMade) -> None:
    reg = done.registry
    with reg.database.read() as tx:
        (end,) = locate(tx, reg.find_jobs("i == 2").__array__())

    with (
        Records(reg.paths, reg.database) as records,
        pytest.raises(WireError, match="is not the record of job 1"),
    ):
        records.body("a1.results", 1, int(end["pos"]), int(end["size"]))


def test_a_missing_segment_is_named(done: HandMade) -> None:
    segment(done).unlink()

    with pytest.raises(StorageError, match=r"a1.results \(written on node7\): No such file"):
        done.registry.load_result(1)


def test_a_damaged_log_is_found(done: HandMade) -> None:
    path = done.registry.paths.job_logs("a1")
    path.write_bytes(path.read_bytes().replace(b"one", b"0ne"))

    with pytest.raises(WireError, match=r"a1.logs .* is torn or damaged"):
        done.registry.get_log(1)


def test_a_record_that_becomes_visible_late_is_waited_for(done: HandMade) -> None:
    path, reg = segment(done), done.registry
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with reg.database.read() as tx:
        (end,) = locate(tx, reg.find_jobs("i == 2").__array__())
    later = threading.Timer(0.2, path.write_bytes, [whole])
    later.start()
    try:
        with Records(reg.paths, reg.database, patience=30) as records:
            body = records.body("a1.results", 2, int(end["pos"]), int(end["size"]))
            assert b"second" in bytes(body)
    finally:
        later.join()
