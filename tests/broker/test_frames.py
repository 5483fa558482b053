"""Frames: a torn tail waits, a flipped bit costs its own record, everything else is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchpilot_broker.frames import (
    HEADER,
    MAGIC,
    ROW,
    Frame,
    Kind,
    frame_at,
    pack_frame,
    pack_row,
    scan,
)


FRAMES = st.lists(
    st.tuples(
        st.sampled_from(list(Kind)),
        # Payloads that hold the magic are the ones that could deceive a reader.
        st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([MAGIC, b"x"])).map(b"".join)),
    ),
    min_size=1,
    max_size=8,
)
Packed = list[tuple[Kind, bytes]]


def written(frames: Packed) -> bytes:
    return b"".join(pack_frame(kind, payload) for kind, payload in frames)


def found(data: bytes, base: int = 0) -> Packed:
    return [(Kind(f.kind), bytes(f.payload)) for f in scan(data, base) if isinstance(f, Frame)]


def gaps(data: bytes) -> list[tuple[int, int]]:
    return [f for f in scan(data) if not isinstance(f, Frame)]


@given(frames=FRAMES, base=st.integers(0, 2**40))
def test_what_was_written_is_found_at_its_place(frames: Packed, base: int) -> None:
    data = written(frames)

    assert found(data, base) == frames
    places = [f.pos for f in scan(data, base) if isinstance(f, Frame)]
    assert places == [base + len(written(frames[:n])) for n in range(len(frames))]


@given(frames=FRAMES, cut=st.integers(1, 11))
def test_a_torn_tail_is_not_there_yet_and_no_gap(frames: Packed, cut: int) -> None:
    data = written(frames)[:-cut]

    assert found(data) == frames[:-1]
    assert gaps(data) == []


@given(frames=FRAMES, where=st.floats(0, 1, exclude_max=True))
def test_a_flipped_bit_costs_at_most_its_own_frame(frames: Packed, where: float) -> None:
    data = bytearray(written(frames))
    bit = int(where * len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    hit = next(n for n in range(len(frames)) if bit // 8 < len(written(frames[: n + 1])))

    left = found(bytes(data))

    assert left == frames[:hit] + frames[hit + 1 :]
    start, end = len(written(frames[:hit])), len(written(frames[: hit + 1]))
    assert gaps(bytes(data)) == ([(start, end)] if hit < len(frames) - 1 else [])


@given(before=FRAMES, junk=st.binary(max_size=200), after=FRAMES)
def test_reading_resumes_behind_junk(before: Packed, junk: bytes, after: Packed) -> None:
    data = written(before) + junk + written(after)

    assert found(data) == before + after
    start = len(written(before))
    assert gaps(data) == ([(start, start + len(junk))] if junk else [])


@given(junk=st.binary(max_size=500))
def test_junk_is_no_frame(junk: bytes) -> None:
    assert frame_at(memoryview(junk), 0) is None
    assert list(scan(junk)) == []


def test_a_length_beyond_the_end_does_not_swallow_what_follows() -> None:
    lying = HEADER.pack(MAGIC, 1, 0, 10**9, 0)
    data = lying + pack_frame(Kind.LOG, b"here")

    assert found(data) == [(Kind.LOG, b"here")]
    assert gaps(data) == [(0, len(lying))]


def test_magic_across_the_search_steps_is_found() -> None:
    for padding in range((1 << 16) - 3, (1 << 16) + 3):
        data = b"x" * padding + pack_frame(Kind.LOG, b"here")

        assert found(data) == [(Kind.LOG, b"here")]


def test_a_row_knows_the_size_of_its_frame() -> None:
    data = pack_row((7, 3, 1, 0, 5, 12, 100.5, 101.25, 640, 33.5), b"body")

    (frame,) = scan(data)
    assert isinstance(frame, Frame)
    assert ROW.unpack_from(frame.payload)[-1] == len(data)
    assert bytes(frame.payload[ROW.size :]) == b"body"
