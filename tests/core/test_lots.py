"""Lots: what a table of ids asks for, and how the original's table of chunks is understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from batchpilot.errors import SubmissionError
from batchpilot.lots import Lot, lots_of
from batchpilot.registry.enlisting import SPAN_OF_CHUNKS


G05 = json.loads((Path(__file__).parents[1] / "golden" / "g05_chunking.json").read_text())


def lots(table: Any, resources: dict[str, Any] | None = None) -> list[Lot]:
    ids = np.asarray(table["job_id"] if hasattr(table, "columns") else table, np.int64)
    return lots_of(table, ids, resources or {})


def chunks(lot: Lot) -> list[list[int]]:
    assert lot.ends is not None
    return [part.tolist() for part in np.split(lot.ids, lot.ends[:-1])]


def test_jobs_without_a_table_are_one_lot_in_their_order() -> None:
    (lot,) = lots([3, 1, 2], {"ncpus": 2})

    assert (lot.ids.tolist(), lot.resources, lot.ends) == ([3, 1, 2], {"ncpus": 2}, None)


def test_the_chunks_of_the_original_hold_the_same_jobs() -> None:
    rows = G05["submitJobs_returns"]["value"]
    numbers = {row["job.id"]: row["chunk"] for row in rows}
    groups = dict(zip(numbers, G05["hash_groups"]["value"], strict=True))
    (lot,) = lots(pd.DataFrame({"job_id": list(numbers), "chunk": list(numbers.values())}))

    ours = {frozenset(part) for part in chunks(lot)}
    theirs = {
        frozenset(job for job in groups if groups[job] == group) for group in {*groups.values()}
    }
    assert ours == theirs


def test_given_in_the_originals_order_chunks_begin_in_it() -> None:
    """The original sorts chunks by their number; here they run in the order given."""
    started = G05["submit_order_of_jobs_by_start"]["value"]
    numbers = {row["job.id"]: row["chunk"] for row in G05["submitJobs_returns"]["value"]}
    table = pd.DataFrame({"job_id": started, "chunk": [numbers[job] for job in started]})

    assert lots(table)[0].ids.tolist() == started
    assert lots(table.iloc[::-1])[0].ids.tolist() == started[::-1]


def test_chunks_come_as_they_first_appear_and_keep_the_order_of_their_jobs() -> None:
    (lot,) = lots(pd.DataFrame({"job_id": [9, 4, 7, 1, 5], "chunk": [2, 8, 2, 8, -1]}))

    assert chunks(lot) == [[9, 7], [4, 1], [5]]


@pytest.mark.parametrize(
    "name", ["order_with_unique_chunks_is_ignored", "order_of_given_ids_is_ignored"]
)
def test_chunks_of_one_job_each_are_no_chunks_but_the_order_is_kept(name: str) -> None:
    sorted_ids = G05[name]["value"]
    given = sorted_ids[::-1]
    (lot,) = lots(pd.DataFrame({"job_id": given, "chunk": range(len(given))}))

    assert lot.ends is None
    assert lot.ids.tolist() == given != sorted_ids


def test_unique_chunk_numbers_of_any_size_are_no_chunks() -> None:
    rows = G05["unique_chunk_numbers_renumbered_and_order_ignored"]["value"]
    jobs = [row["job.id"] for row in rows]
    (lot,) = lots(pd.DataFrame({"job_id": jobs[::-1], "chunk": [40, 10, 30, 20]}))

    assert len({row["chunk"] for row in rows}) == len(jobs)  # so does the original
    assert (lot.ids.tolist(), lot.ends) == (jobs[::-1], None)


def test_rows_of_jobs_that_do_not_exist_are_left_out() -> None:
    table = pd.DataFrame({"job_id": [5, 99, 2], "chunk": [1, 2, 1], "x": "?"})

    assert chunks(lots_of(table, np.array([5, 2]), {})[0]) == [[5, 2]]


@pytest.mark.parametrize("value", [None, 1.5, "left", float("inf")])
def test_a_chunk_without_a_whole_number_is_refused_by_the_job(value: Any) -> None:
    table = pd.DataFrame({"job_id": [1, 2, 3], "chunk": pd.Series([1, value, 1], dtype=object)})

    with pytest.raises(SubmissionError, match=r"column chunk holds .* for job 2") as caught:
        lots(table)

    assert caught.value.remedy


def test_resources_of_single_jobs_make_the_originals_groups() -> None:
    rows = G05["per_job_resources"]["value"]
    table = pd.DataFrame(
        {"job_id": [r["job.id"] for r in rows], "walltime": [r["walltime"] for r in rows]}
    )
    found = lots(table, {"memory": 100})

    groups = G05["per_job_resource_ids"]["value"]
    assert [lot.ids.tolist() for lot in found] == [
        [job for job, group in enumerate(groups, 1) if group == number] for number in (1, 2)
    ]
    assert [lot.resources for lot in found] == [
        {"memory": 100, "walltime": 180},
        {"memory": 100, "walltime": 120},
    ]


def test_what_is_missing_for_a_job_is_as_for_all() -> None:
    table = pd.DataFrame(
        {"job_id": [1, 2, 3], "ncpus": [2, np.nan, 2], "pool": ["a", None, "a"], "other": 7}
    )
    found = lots(table, {"ncpus": 4, "walltime": 60})

    assert [(lot.ids.tolist(), lot.resources) for lot in found] == [
        ([1, 3], {"ncpus": 2, "pool": "a", "walltime": 60}),
        ([2], {"ncpus": 4, "walltime": 60}),
    ]
    assert type(found[0].resources["ncpus"]) is int


def test_a_column_without_any_value_is_none() -> None:
    table = pd.DataFrame({"job_id": [1, 2], "memory": [np.nan, None], "chunk": [1, 1]})

    assert chunks(lots(table)[0]) == [[1, 2]]


def test_chunks_with_resources_of_single_jobs_are_refused_as_by_the_original() -> None:
    assert "per-job resources" in G05["per_job_resources_with_chunks"]["error"].lower()
    table = pd.DataFrame({"job_id": [1, 2], "chunk": [1, 1], "memory": [1, 2], "gpus": [0, 1]})

    with pytest.raises(
        SubmissionError, match="per-job resources cannot be combined with chunks"
    ) as caught:
        lots(table)

    assert caught.value.remedy == "drop the column chunk, or the columns memory, gpus"


def test_values_that_are_no_resources_are_refused() -> None:
    with pytest.raises(SubmissionError, match="numbers or strings"):
        lots(pd.DataFrame({"job_id": [1, 2], "memory": [[1], [2]]}))


@pytest.mark.parametrize("most", [1, 3, 5, 100])
def test_parts_hold_whole_chunks_and_all_jobs_in_order(most: int) -> None:
    sizes = [2, 1, 4, 1, 1, 7, 2]
    ids = np.arange(18, 0, -1)
    lot = Lot(ids=ids, resources={}, ends=np.cumsum(sizes))
    seen: list[int] = []
    for part, ends in lot.parts(most):
        assert ends is not None
        assert ends[-1] == len(part)
        seen += np.diff(ends, prepend=0).tolist()

    assert seen == sizes
    assert np.concatenate([part for part, _ in lot.parts(most)]).tolist() == ids.tolist()


def test_parts_of_many_small_chunks_are_about_as_large_as_asked() -> None:
    lot = Lot(ids=np.arange(1, 100_001), resources={}, ends=np.arange(2, 100_001, 2))

    sizes = [len(part) for part, _ in lot.parts(SPAN_OF_CHUNKS)]

    assert sum(sizes) == 100_000
    assert max(sizes) <= SPAN_OF_CHUNKS + 1
    assert len(sizes) < 30
