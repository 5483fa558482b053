"""What may be asked of an owner on another host, and how it is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import batchpilot as bp
from batchpilot import errors
from batchpilot.asking import LARGE, error_in, may_be_asked, pack, pack_error, unpack
from batchpilot.epochs import Definition
from batchpilot.errors import SubmissionError, WireError
from batchpilot_agent.objects import ObjectStore
from batchpilot_broker.nouns import ResourceClass


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        None,
        ["text", 1, 2.5, True, b"bytes", {"a": [1]}],
        ResourceClass(ncpus=2, memory=100.0, template=(("account", "x"),)),
        Definition(function="ab" * 32, names=("i", "j"), positional=("i",)),
    ],
)
def test_a_value_comes_back_as_it_was(objects: ObjectStore, value: object) -> None:
    assert unpack(pack(value, objects), objects) == value


@pytest.mark.parametrize("ids", [[], [3], [5, 1, 4], list(range(1, 200_001))])
def test_ids_come_back_in_their_order_whatever_held_them(
    objects: ObjectStore, ids: list[int]
) -> None:
    assert unpack(pack(np.array(ids, np.int64), objects), objects).tolist() == ids
    assert unpack(pack(bp.JobIds(ids), objects), objects).tolist() == sorted(ids)


def test_a_long_row_of_ids_is_a_short_message(objects: ObjectStore) -> None:
    assert "body" in pack(np.arange(1, 1_000_001), objects)


def test_what_is_large_becomes_an_object_and_is_compared_with_its_hash(
    objects: ObjectStore, tmp_path: Path
) -> None:
    message = pack(b"x" * (LARGE + 1), objects)

    assert set(message) == {"object"}
    assert unpack(message, objects) == b"x" * (LARGE + 1)
    (tmp_path / message["object"]).write_bytes(b"altered")
    with pytest.raises(WireError, match="cannot be read"):
        unpack(message, objects)


@pytest.mark.parametrize(
    "message",
    [{}, {"body": b"\xc1"}, {"body": 7}, {"object": "0" * 64}, {"body": b"\xc7\x01\x09x"}],
)
def test_what_is_no_message_is_an_error_of_ours(
    objects: ObjectStore, message: dict[str, object]
) -> None:
    with pytest.raises(WireError):
        unpack(message, objects)


def test_an_error_keeps_its_class_its_words_and_its_remedy() -> None:
    told = error_in(pack_error(SubmissionError("taken", remedy="wait")))

    assert isinstance(told, SubmissionError)
    assert (told.message, told.remedy) == ("taken", "wait")


@pytest.mark.parametrize("name", ["annotations", "no such", "__builtins__"])
def test_a_strange_class_of_error_is_an_error_of_ours(name: str) -> None:
    told = error_in({"error": name, "message": "m", "remedy": "r"})

    assert type(told) is errors.BatchpilotError


def test_only_marked_methods_may_be_asked_for() -> None:
    asked = {name for name in dir(bp.Registry) if may_be_asked(bp.Registry, name)}

    assert {"_kill", "_reset", "_set", "_add_map", "_enlist"} <= asked
    assert not {"remove", "clear", "sweep", "close", "_db", "__init__"} & asked
