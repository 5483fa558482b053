"""Chunks: exactly the numbers and errors of the original (golden/g05)."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchpilot as bp
from batchpilot.chunking import binpack, chunk, lpt
from batchpilot.errors import DefinitionError


G05 = json.loads((Path(__file__).parents[1] / "golden" / "g05_chunking.json").read_text())
PACKED = [name for name, entry in G05.items() if name.startswith("binpack_") and "x" in str(entry)]
TIMED = [
    name for name in G05 if name.startswith("lpt_") and name[4] in "abcdefg" and name[5] == "_"
]
FIRST_TEN = list(range(1, 11))
VECTORS = {"a": FIRST_TEN, "b": [5, 5, 4, 3, 3, 3], "e": [8, 7, 6, 5, 4], "g": [3, 1, 3, 1, 2, 2]}


def said(name: str) -> str:
    """Return an error of the original, its names spelled as ours."""
    text: str = G05[name]["error"]
    return text.replace("n.chunks", "n_chunks").replace("chunk.size", "chunk_size")


def sizes(chunks: list[int]) -> list[int]:
    return [n for _, n in sorted(Counter(chunks).items())]


@pytest.mark.parametrize(
    ("name", "n", "by"),
    [
        ("chunk_n2_noshuffle_10", 10, {"n_chunks": 2}),
        ("chunk_n3_noshuffle_10", 10, {"n_chunks": 3}),
        ("chunk_n20_noshuffle_10", 10, {"n_chunks": 20}),
        ("chunk_size3_noshuffle_10", 10, {"chunk_size": 3}),
        ("chunk_size4_noshuffle_10", 10, {"chunk_size": 4}),
        ("chunk_size1_noshuffle_5", 5, {"chunk_size": 1}),
        ("chunk_empty_n", 0, {"n_chunks": 2}),
        ("chunk_empty_size", 0, {"chunk_size": 2}),
    ],
)
def test_chunks_in_order_are_the_originals(name: str, n: int, by: dict[str, Any]) -> None:
    assert chunk(range(n), **by, shuffle=False) == G05[name]["value"]


@pytest.mark.parametrize("name", ["chunk_sizes_table", "chunk_bysize_table"])
def test_sizes_of_chunks_are_the_originals(name: str) -> None:
    for row in G05[name]["value"]:
        by = {"n_chunks": row.get("n.chunks"), "chunk_size": row.get("chunk.size")}

        assert sizes(chunk(range(row["n"]), **by)) == row["sizes"]


def test_shuffling_keeps_the_sizes_and_follows_the_seed() -> None:
    random.seed(1)
    first = chunk(range(10), 3)
    random.seed(1)

    assert chunk(range(10), 3) == first != sorted(first)
    assert sizes(first) == G05["chunk_shuffle_sizes_n3_10"]["value"]


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("chunk_err_none", {}),
        ("chunk_err_both", {"n_chunks": 2, "chunk_size": 2}),
        ("chunk_err_zero", {"n_chunks": 0}),
    ],
)
def test_chunks_are_refused_as_by_the_original(name: str, by: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError) as caught:
        chunk(range(10), **by)

    assert said(name) in str(caught.value)


@pytest.mark.parametrize("name", TIMED)
def test_longest_first_gives_the_originals_chunks(name: str) -> None:
    value = G05[name]["value"]

    assert lpt(value["x"], value["n.chunks"]) == value["chunk"]


def test_longest_first_balances_the_sums() -> None:
    value = G05["lpt_unsorted_example"]["value"]
    chunks = lpt(value["x"], 3)
    sums: Counter[int] = Counter()
    for number, time in zip(chunks, value["x"], strict=True):
        sums[number] += time

    assert chunks == value["chunk"]
    assert [sums[number] for number in (1, 2, 3)] == value["sums"]
    assert lpt([1, 2]) == G05["lpt_default_n"]["value"]
    assert lpt([]) == G05["lpt_empty"]["value"]


@pytest.mark.parametrize(("name", "x"), [("lpt_negative", [-1, 2]), ("lpt_NA", [None, 1])])
def test_times_are_refused_as_by_the_original(name: str, x: list[Any]) -> None:
    with pytest.raises(DefinitionError) as caught:
        lpt(x, 2)

    assert said(name) in str(caught.value)


@pytest.mark.parametrize("name", PACKED)
def test_packing_gives_the_originals_chunks(name: str) -> None:
    value = G05[name].get("value")
    if value:
        assert binpack(value["x"], value["chunk.size"]) == value["chunk"]
    if value and name.endswith("default"):
        assert binpack(value["x"]) == value["chunk"]


@pytest.mark.parametrize(
    ("name", "size"),
    [("binpack_too_big", 8), *((n, int(n.partition("cap")[2])) for n in G05 if "_cap" in n)],
)
def test_what_does_not_fit_is_refused_as_by_the_original(name: str, size: int) -> None:
    if "error" not in G05[name]:
        return
    with pytest.raises(DefinitionError) as caught:
        binpack(VECTORS.get(name[8], FIRST_TEN), size)

    assert said(name) in str(caught.value)


def test_nothing_is_packed_into_nothing() -> None:
    assert binpack([]) == G05["binpack_empty"]["value"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(100, 300))
def test_packing_is_first_fit_and_never_over_the_size(x: list[float], size: float) -> None:
    chunks = binpack(x, size)
    room: list[float] = []
    for at in sorted(range(len(x)), key=lambda at: -x[at]):
        fits = [number for number, left in enumerate(room) if left >= x[at]]
        if not fits:
            room.append(size)
        number = fits[0] if fits else len(room) - 1
        room[number] -= x[at]

        assert chunks[at] == number + 1


def test_they_are_names_of_the_package() -> None:
    assert (bp.chunk, bp.lpt, bp.binpack) == (chunk, lpt, binpack)
    assert bp.chunk(bp.JobIds([4, 7, 9]), chunk_size=2, shuffle=False) == [1, 1, 2]
