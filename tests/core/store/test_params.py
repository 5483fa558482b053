"""Parameters: one pickle a job, cut out of pages as bytes."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.book import Book

from batchpilot.errors import DefinitionError
from batchpilot.registry.defining import add_jobs
from batchpilot.store.pages import PAGE
from batchpilot.store.params import LARGE, ParsEncoder, ParsReader
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.slot.values import ValueReader


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    path = tmp_path / "objects"
    path.mkdir()
    return ObjectStore(path)


def cut(offsets: bytes, data: bytes) -> list[bytes]:
    bounds = np.frombuffer(offsets, "<u4").tolist()
    return [data[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize(
    "columns",
    [
        [[1, 2], ["a", "b"], [None, True]],
        [[{"a": 1}, [2]], [(3,), {4}]],
        [[lambda x: x, 1], [2, 3]],
    ],
    ids=["plain", "containers", "a function"],
)
def test_each_row_is_a_pickled_tuple(objects: ObjectStore, columns: list[list[Any]]) -> None:
    encoder = ParsEncoder(objects)

    rows = [pickle.loads(data) for data in encoder.encode(columns)]  # noqa: S301 - made here

    assert [len(row) for row in rows] == [len(columns)] * 2
    assert rows[1] == tuple(column[1] for column in columns)
    assert not encoder.has_large


def test_a_large_value_is_stored_once_and_named_by_its_hash(
    objects: ObjectStore, tmp_path: Path
) -> None:
    data = np.zeros(2 * LARGE, np.uint8)
    encoder = ParsEncoder(objects)

    rows = encoder.encode([[data, data, data], [1, 2, 3]])

    assert encoder.has_large
    assert all(len(row) < 1000 for row in rows)
    assert len(list((tmp_path / "objects").iterdir())) == 1
    read = ValueReader(objects).read
    assert [(len(read(memoryview(row))[0]), read(memoryview(row))[1]) for row in rows] == [
        (2 * LARGE, 1),
        (2 * LARGE, 2),
        (2 * LARGE, 3),
    ]


def test_a_value_that_cannot_be_pickled_is_refused_by_its_row(objects: ObjectStore) -> None:
    with pytest.raises(DefinitionError, match=r"\(1, <unlocked _thread.lock.*cannot be pickled"):
        ParsEncoder(objects).encode([[0, 1], ["fine", threading.Lock()]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    blocks=st.lists(st.integers(1, 2 * PAGE), min_size=1, max_size=4),
    picks=st.lists(st.integers(0, 10**6), min_size=1, max_size=30),
)
def test_parameters_come_back_whatever_blocks_they_were_added_in(
    new_book: Callable[[], Book], blocks: list[int], picks: list[int]
) -> None:
    database = new_book().database
    total = sum(blocks)
    pickles = [b"x" * (job % 7) + b"%d" % job for job in range(1, total + 1)]
    done = 0
    for size in blocks:
        with database.write() as tx:
            ids = add_jobs(tx, pickles[done : done + size])
        assert ids.tolist() == list(range(done + 1, done + size + 1))
        done += size
    chosen = list(dict.fromkeys(1 + pick % total for pick in picks))

    with database.read() as tx:
        offsets, data = ParsReader(pages_kept=1).slice(tx, np.array(chosen))

    assert cut(offsets, data) == [pickles[job - 1] for job in chosen]
