"""The wire, pinned on bytes that something else than batchpilot wrote (contract/make.py).

Bytes of a released version never change. Where one of these tests fails, the code is wrong, or it
is a new version.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from batchpilot_broker.codec import Seal
from batchpilot_broker.errors import ForgedMessage, UnknownVersion
from batchpilot_broker.events import opened
from batchpilot_broker.frames import EVENT_ROW_SIZE, LOG, NO_PART, ROW, Frame, Kind, pack_row, scan
from batchpilot_broker.keys import Keys
from batchpilot_broker.nouns import (
    AgentInfo,
    Chunk,
    Isolation,
    Outcome,
    Reason,
    Report,
    ResourceClass,
)
from batchpilot_broker.payload import call_of, open_payload


FOLDER = Path(__file__).parent / "contract"
SEAL = Seal(bytes(range(32)), "0123abcd")

CLASS = ResourceClass(
    ncpus=2,
    memory=512.0,
    gpus=1,
    walltime=3600.0,
    pool="slurm",
    threads=(4, 2),
    isolation=Isolation.PROCESS,
    priority=-3,
    measure_memory=True,
    template=(("account", "stat"), ("partition", "long")),
)
CHUNK = Chunk(
    id=70000,
    class_id="00c0ffee0000",
    epoch="abababababababababababababababababababababababababababababababab",
    attempt=3,
    ranges=((7, 9), (4, 4)),
    offsets=b"\0\0\0\0\1\0\0\0\3\0\0\0\6\0\0\0\x0a\0\0\0",
    pars=b"abbcccdddd",
    budget=1.5,
    isolation=Isolation.SLOT,
    resources=CLASS,
    seed=42,
    shown={"walltime": 3600, "partition": "long"},
)
AGENT = AgentInfo(
    id="a-1",
    pool="local",
    host="node7",
    boot="b007",
    pid=4242,
    pid_start=99,
    slots=8,
    cores=16,
    memory=1024.0,
    gpus=2,
    deadline=1750000000.0,
    started=1700000000.0,
    protocol=(1, 0),
    python="3.11",
    cloudpickle="3.1.2",
    allocation="17.3",
    scheduler_id="4711_3",
    registry="/home/u/registry",
)
ROW_BYTES = bytes.fromhex(
    "07000000 03000000 01 00 0500 0c000000 0000000000205940 0000000000505940"
    " 8002000000000000 00000642 40000000"
)
REPORT = Report(
    agent="a-1",
    segment="a-1.results",
    start=100,
    end=228,
    rows=bytes.fromhex("6400000000000000") + ROW_BYTES,
    notes=((3, bytes.fromhex("7011010000000000 000000000000e83f 04000000")),),
    running=((9, 3, 102.5, 18446744073709551615),),
)


def kept(name: str) -> bytes:
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text())


def body(sealed: bytes) -> Any:
    return msgpack.unpackb(sealed[34:], strict_map_key=False)


def test_the_bytes_are_those_that_the_script_beside_them_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, FOLDER / "make.py", tmp_path], check=True)

    names = sorted(path.name for path in FOLDER.glob("*.hex"))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()


def test_a_resource_class() -> None:
    assert ResourceClass.from_wire(SEAL.open("class", kept("class"))) == CLASS
    assert body(SEAL.pack("class", CLASS.to_wire())) == body(kept("class"))


def test_a_chunk() -> None:
    name, instance, (wire,), keywords = SEAL.open("chunk", kept("chunk"))

    assert (name, instance, keywords) == ("batchpilot_agent.chunk", None, {})
    assert Chunk.from_wire(wire) == CHUNK
    assert (CHUNK.size, CHUNK.ids()) == (4, [7, 8, 9, 4])
    assert body(SEAL.pack("chunk", call_of(CHUNK))) == body(kept("chunk"))


def test_a_chunk_that_stays_whole_says_so_and_no_other() -> None:
    assert Chunk.from_wire(replace(CHUNK, whole=True).to_wire()).whole
    assert "whole" not in CHUNK.to_wire()


def test_the_data_of_a_chunks_job() -> None:
    assert open_payload(SEAL, kept("chunk-data"), 70000) == CHUNK
    assert zlib.decompress(kept("chunk-data")) == kept("chunk")


def test_an_agent() -> None:
    assert AgentInfo.from_wire(SEAL.open("agent", kept("agent"))) == AGENT
    assert body(SEAL.pack("agent", AGENT.to_wire())) == body(kept("agent"))


def test_a_report() -> None:
    assert opened(SEAL, {b"d": kept("report")}) == REPORT
    assert body(SEAL.pack("event", REPORT.to_wire())) == body(kept("report"))


def test_other_events() -> None:
    hello = {"kind": "hello", "agent": "a-1", "generation": 2, "held": [5, 70000]}

    assert opened(SEAL, {b"d": kept("hello")}) == hello
    assert opened(SEAL, {b"d": kept("nudge")}) == {"kind": "nudge"}


def test_a_control_message() -> None:
    cancel = {"kind": "cancel", "ranges": [[1, 5], [9, 9]], "attempt": 2}

    assert SEAL.open("control", kept("cancel")) == cancel


def test_a_request() -> None:
    assert opened(SEAL, {b"r": kept("request")}) == {
        "kind": "request",
        "id": "0f" * 16,
        "until": 1.7e9,
        "host": "h",
        "user": "u",
        "verb": "_kill",
        "body": bytes.fromhex("92919203 0480".replace(" ", "")),
    }
    assert opened(SEAL, {b"d": kept("request")}) == {"kind": "rejected", "why": "forged"}


def test_our_seal_is_the_one_that_was_written_down() -> None:
    assert SEAL.pack("event", {"kind": "nudge"}) == kept("nudge")


def test_a_newer_minor_version_is_read() -> None:
    assert opened(SEAL, {b"d": kept("minor")}) == {"kind": "nudge", "added_in_1_7": True}


def test_an_unknown_major_version_is_refused() -> None:
    with pytest.raises(UnknownVersion, match=r"protocol 2.*same batchpilot on all hosts"):
        SEAL.open("event", kept("major"))


@pytest.mark.parametrize("name", ["other-secret", "other-instance", "cancel", "chunk"])
def test_another_secret_instance_or_purpose_is_forged(name: str) -> None:
    with pytest.raises(ForgedMessage):
        SEAL.open("event", kept(name))


def test_fields_of_a_newer_minor_version_are_dropped() -> None:
    newer = {**body(kept("class")), "colour": "red"}, {**body(kept("agent")), "mood": "good"}

    assert ResourceClass.from_wire(newer[0]) == CLASS
    assert AgentInfo.from_wire(newer[1]) == AGENT


def test_a_segment() -> None:
    frames = [f for f in scan(kept("segment")) if isinstance(f, Frame)]
    head, started, row, ended, back, log, revoked, fed = (bytes(f.payload) for f in frames)

    assert [Kind(f.kind) for f in frames] == [8, 2, 1, 3, 4, 5, 6, 7]
    assert msgpack.unpackb(head) == {"version": 1, "agent": "a-1", "instance": "0123abcd"}
    assert struct.unpack("<QdH", started) == (70000, 100.25, 5)
    assert row == ROW_BYTES + b"body"
    assert struct.unpack("<QdI", ended) == (70000, 0.75, 4)
    assert msgpack.unpackb(back) == [70000, [[8, 9]], "drain", False]
    assert LOG.unpack_from(log) == (7, 3, NO_PART, 0)
    assert log[LOG.size :] == b"hello, log!\n"
    assert msgpack.unpackb(revoked) == [[[1, 5]], 2]
    assert msgpack.unpackb(fed) == [70000, [[7, 9], [4, 4]], 3]


def test_a_row() -> None:
    expected = (7, 3, Outcome.DONE, Reason.NONE, 5, 12, 100.5, 101.25, 640, 33.5, 64)

    assert ROW.unpack(ROW_BYTES) == expected
    assert (ROW.size, EVENT_ROW_SIZE) == (48, 56)
    assert pack_row(expected[:-1], b"body")[12:] == ROW_BYTES + b"body"


def test_outcomes_and_reasons_have_their_numbers_for_ever() -> None:
    assert {o.name: int(o) for o in Outcome} == {"DONE": 1, "ERROR": 2, "EXPIRED": 3, "LOST": 4}
    assert [r.name for r in Reason] == [
        "NONE",
        "SIGNAL",
        "EXIT",
        "MEMORY",
        "WALLTIME",
        "AGENT_LOST",
        "NEVER_FITS",
        "PREDECESSOR",
        "HANDED_BACK",
        "TEMPLATE",
    ]
    assert [int(r) for r in Reason] == list(range(10))


def test_the_names_of_the_keys() -> None:
    keys = Keys("i")

    assert [keys.term, keys.generation, keys.alive, keys.events, keys.classes] == [
        "bp:i:term",
        "bp:i:generation",
        "bp:i:coordinator",
        "bp:i:events",
        "bp:i:classes",
    ]
    assert [keys.leases, keys.agents, keys.beats, keys.states] == [
        "bp:i:leases",
        "bp:i:agents",
        "bp:i:beats",
        "bp:i:states",
    ]
    assert [keys.foreign, keys.gone, keys.forged] == ["bp:i:foreign", "bp:i:gone", "bp:i:forged"]
    assert [keys.bell("c"), keys.control("a")] == ["bp:i:bell:c", "bp:i:control:a"]
    assert [keys.queue("c"), keys.job(7), keys.worker("a")] == ["bp-i-c", "bp-i-c7", "bp-i-a"]


@pytest.mark.parametrize(
    ("job", "number"),
    [(b"bp-i-c7", 7), (b"bp-i-c", None), (b"bp-i-cx", None), (b"bp-j-c7", None), (b"7", None)],
)
def test_the_number_in_a_job_id(job: bytes, number: int | None) -> None:
    assert Keys("i").chunk(job) == number
