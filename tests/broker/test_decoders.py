"""Whatever bytes come, sealed or not: a value or an error of ours, never another one, never a hang.

Each decoder is given random bytes, and messages that carry the right seal and the wrong content:
valid ones in which single fields were replaced by anything.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpilot_broker.access import Access, access_from, read_access_file
from batchpilot_broker.agentside import _control
from batchpilot_broker.codec import Seal
from batchpilot_broker.errors import BatchpilotError, WireError
from batchpilot_broker.events import opened
from batchpilot_broker.frames import Frame, pack_frame, pack_row, scan
from batchpilot_broker.nouns import AgentInfo, Chunk, Isolation, Report, ResourceClass
from batchpilot_broker.payload import call_of, open_payload


SEAL = Seal(bytes(range(32)), "i")
OURS = (LookupError, TypeError, ValueError)
"""What `from_wire` raises; each of its callers makes an error or a count of it."""

CHUNK = Chunk(
    id=7,
    class_id="00c0ffee0000",
    epoch="ab" * 32,
    attempt=3,
    ranges=((7, 9), (4, 4)),
    offsets=bytes(20),
    pars=b"pars",
    budget=2.5,
    isolation=Isolation.SLOT,
    resources=ResourceClass(),
    seed=42,
    shown={"walltime": 5},
)
AGENT = AgentInfo(
    id="a1", pool="p", host="h", boot="b", pid=1, pid_start=2, slots=3, cores=4, memory=5.0
)
REPORT = Report(
    agent="a1",
    segment="a1.results",
    start=0,
    end=112,
    rows=bytes(112),
    notes=((3, b"note"),),
    running=((5, 1, 12.5, 2**64 - 1),),
)
HELLO = {"kind": "hello", "agent": "a1", "generation": 2, "held": [5, 70000]}
REQUEST = {"kind": "request", "id": "r1", "verb": "kill_jobs", "until": 1.0, "body": b""}
CANCEL = {"kind": "cancel", "ranges": [[1, 5], [9, 9]], "attempt": 2}
BROKER = {
    "urls": ["unix:///s"], "username": "agents", "password": "x", "generation": 3, "host": "h",
    "boot": "b", "pid": 5, "pid_start": 6, "log": "l", "external": False, "ca": "",
}  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=60),
    st.sampled_from(["../../etc/passwd", "a1", "report", "\0", "slot", b"\xff" * 56]),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def spoiled(draw: st.DrawFn, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in which some fields are missing, more, or anything."""
    fields = draw(st.lists(st.sampled_from(sorted(message)), min_size=1, max_size=3))
    out = dict(message)
    for name in fields:
        if draw(st.booleans()):
            out[name] = draw(anything)
        else:
            out.pop(name, None)
    return out


@given(data=st.binary(max_size=300), purpose=st.sampled_from(["chunk", "event", "control"]))
def test_random_bytes_carry_no_seal(data: bytes, purpose: str) -> None:
    with pytest.raises(WireError):
        SEAL.open(purpose, data)


@given(body=st.binary(max_size=300))
def test_a_sealed_body_of_random_bytes_is_a_value_or_a_wire_error(body: bytes) -> None:
    body = b"\x01\x00" + body
    error = None
    try:
        value = SEAL.open("event", SEAL.mac("event", body) + body)
    except WireError as raised:
        error = raised

    assert error is None or "event message cannot be decoded" in str(error)
    assert error or msgpack.packb(value) is not None


@pytest.mark.parametrize("nested", [b"\x91", b"\x81\xc0"], ids=["lists", "maps"])
def test_what_is_nested_without_end_is_a_wire_error(nested: bytes) -> None:
    body = b"\x01\x00" + nested * 200_000 + b"\xc0"

    with pytest.raises(WireError):
        SEAL.open("event", SEAL.mac("event", body) + body)


@pytest.mark.parametrize(
    "claims", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_a_length_that_is_not_there_is_a_wire_error(claims: bytes) -> None:
    body = b"\x01\x00" + claims

    with pytest.raises(WireError):
        SEAL.open("event", SEAL.mac("event", body) + body)


@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_payload(data: bytes) -> None:
    for spoilt in (data, zlib.compress(data)):
        with pytest.raises(WireError):
            open_payload(SEAL, spoilt, 1)


@given(call=anything)
def test_a_sealed_payload_of_anything_is_a_wire_error(call: Any) -> None:
    with pytest.raises(WireError):
        open_payload(SEAL, zlib.compress(SEAL.pack("chunk", call)), 7)


@given(wire=spoiled(CHUNK.to_wire()))
def test_a_sealed_chunk_with_any_fields_is_a_chunk_or_a_wire_error(wire: dict[str, Any]) -> None:
    call: list[Any] = [*call_of(CHUNK)[:2], [wire], {}]
    try:
        chunk = open_payload(SEAL, zlib.compress(SEAL.pack("chunk", call)), 7)
    except WireError:
        return
    assert len(chunk.ids()) == chunk.size == len(chunk.offsets) // 4 - 1
    assert Chunk.from_wire(chunk.to_wire()) == chunk


def test_a_chunk_of_more_jobs_than_it_has_parameters_is_refused_before_they_are_listed() -> None:
    wire = {**CHUNK.to_wire(), "ranges": [[1, 2**32 - 1]]}

    with pytest.raises(WireError):
        open_payload(SEAL, zlib.compress(SEAL.pack("chunk", ["f", None, [wire], {}])), 7)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (ResourceClass.from_wire, ResourceClass().to_wire()),
        (AgentInfo.from_wire, AGENT.to_wire()),
        (Report.from_wire, REPORT.to_wire()),
        (_control, CANCEL),
        (access_from, BROKER),
    ],
    ids=["class", "agent", "report", "control", "access"],
)
def test_any_fields_make_a_value_or_an_error_that_callers_expect(
    read: Callable[[Any], Any], message: dict[str, Any]
) -> None:
    @settings(max_examples=150)
    @given(wire=spoiled(message) | anything)
    def look(wire: Any) -> None:
        wire = msgpack.unpackb(msgpack.packb(wire), strict_map_key=False)
        try:
            value = read(wire)
        except OURS:
            return
        repr(value)

    look()


@given(
    message=spoiled(REPORT.to_wire()) | spoiled(HELLO) | spoiled(REQUEST) | anything,
    request=st.booleans(),
)
def test_a_sealed_event_of_anything_is_an_event_or_rejected(message: Any, *, request: bool) -> None:
    sealed = SEAL.pack("request" if request else "event", message)
    event = opened(SEAL, {b"r" if request else b"d": sealed})

    if isinstance(event, Report):
        assert "/" not in event.segment
        assert len(event.rows) % 56 == 0
        assert event == Report.from_wire(msgpack.unpackb(msgpack.packb(event.to_wire())))
    elif event["kind"] == "request":
        assert (type(event["id"]), type(event["verb"])) == (str, str)
    elif event["kind"] == "hello":
        assert "/" not in event["agent"]
        assert all(type(chunk) is int for chunk in event["held"])


@given(fields=st.dictionaries(st.sampled_from([b"d", b"r", b"x"]), st.binary(max_size=90)))
def test_an_entry_of_random_bytes_is_rejected(fields: dict[bytes, bytes]) -> None:
    event = opened(SEAL, fields)

    assert isinstance(event, dict)
    assert event["kind"] == "rejected"


@given(
    name=st.sampled_from(["../x.results", "", "/etc/passwd", "a\0b", ".results", "a/../b"]),
    field=st.sampled_from(["agent", "segment"]),
)
def test_a_report_names_no_file_outside(name: str, field: str) -> None:
    event = opened(SEAL, {b"d": SEAL.pack("event", {**REPORT.to_wire(), field: name})})

    assert event == {"kind": "rejected", "why": "malformed"}


@given(
    head=st.binary(max_size=40),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=6),
    cut=st.integers(0, 60),
)
def test_any_damage_of_a_segment_costs_records_and_nothing_else(
    head: bytes, flips: list[tuple[float, int]], cut: int
) -> None:
    row = (7, 3, 1, 0, 5, 12, 100.5, 101.25, 640, 33.5)
    whole = [pack_row(row, b"body"), pack_frame(5, b"log" * 9), pack_frame(3, b"ended")]
    data = bytearray(head + b"".join(whole))
    for where, bit in flips:
        data[int(where * len(data))] ^= 1 << bit
    data = data[: len(data) - cut]

    at = 0
    for found in scan(bytes(data)):
        start, end = (
            (found.pos, found.pos + 12 + len(found.payload)) if isinstance(found, Frame) else found
        )
        assert at <= start < end <= len(data)
        at = end


@given(data=st.binary(max_size=120) | anything.map(lambda x: json.dumps(x, default=repr).encode()))
def test_a_broker_record_of_anything_is_a_record_or_an_error_of_ours(data: bytes) -> None:
    read_either(data, read_access_file)


@given(wire=spoiled(BROKER))
def test_a_broker_record_with_any_fields_is_one_or_an_error_without_the_password(
    wire: dict[str, Any],
) -> None:
    data = json.dumps({**wire, "password": "hunter2" * 3}, default=repr).encode()
    access = read_either(data, read_access_file)

    assert access is None or all(isinstance(url, str) for url in access.urls)


FILE = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp")  # noqa: S108 - a file for each example


def read_either(data: bytes, read: Callable[[Path], Access | None]) -> Access | None:
    """Return what is read from a file with these bytes, None where that is an error of ours."""
    fd, name = tempfile.mkstemp(dir=FILE)
    found, said = None, ""
    try:
        os.write(fd, data)
        found = read(Path(name))
    except BatchpilotError as error:
        said = str(error)
    finally:
        os.close(fd)
        Path(name).unlink()
    assert "hunter2" not in said
    return found
