"""Nobody without the secret makes an agent decode anything."""

from __future__ import annotations

import pickle
import secrets
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchpilot_broker.codec import Seal
from batchpilot_broker.errors import ForgedMessage, UnknownVersion, WireError
from batchpilot_broker.payload import call_of, open_payload


if TYPE_CHECKING:
    from tests.broker.conftest import Bench

    from batchpilot_broker.agentside import AgentBroker
    from batchpilot_broker.coordside import CoordinatorBroker

ON_ONE_SERVER = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Detonator:
    """Create a file when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


class Range:
    """Feed chunks that would leave a trace, spoil them, and claim them."""

    def __init__(self, bench: Bench, trace: Path) -> None:
        self.bench = bench
        self.trace = trace
        self.coordinator: CoordinatorBroker = bench.coordinator()
        self.agent: AgentBroker = bench.agent()
        self.number = 0

    def fed(self) -> bytes:
        """Feed one chunk; return its data."""
        self.number += 1
        pars = pickle.dumps(Detonator(self.trace))
        self.coordinator.feed([self.bench.chunk(self.number, pars=pars)])
        data: Any = self.bench.client.hget(self.job, "data")
        return bytes(data)

    @property
    def job(self) -> str:
        """Return the hash of its job."""
        return f"rq:job:{self.bench.keys.job(self.number)}"

    def is_refused(self, spoiled: bytes) -> bool:
        """Tell whether spoiled data are refused, counted, and leave neither lease nor trace."""
        self.bench.client.hset(self.job, "data", spoiled)
        counted = self.bench.count(self.bench.keys.forged)
        with pytest.raises(ForgedMessage):
            self.agent.claim("a1", [(self.bench.CLASS, 0)])
        return (
            self.bench.count(self.bench.keys.forged) == counted + 1
            and not self.coordinator.leases()
            and not self.bench.client.exists(self.job)
            and not self.trace.exists()
        )


def unpacked(data: bytes) -> bytes | None:
    """Return what is below the compression, None where nothing is."""
    try:
        return zlib.decompress(data)
    except zlib.error:
        return None


@pytest.fixture
def firing_range(bench: Bench, tmp_path: Path) -> Range:
    return Range(bench, tmp_path / "unpickled")


def test_the_detonator_works(firing_range: Range) -> None:
    firing_range.fed()
    claimed = firing_range.agent.claim("a1", [(firing_range.bench.CLASS, 0)])

    assert claimed
    assert not firing_range.trace.exists()
    pickle.loads(claimed.pars)  # noqa: S301 - to see that it goes off
    assert firing_range.trace.exists()


@ON_ONE_SERVER
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_chunk_with_any_bit_flipped_on_the_broker_is_refused(
    firing_range: Range, where: float
) -> None:
    data = bytearray(firing_range.fed())
    sealed = zlib.decompress(data)
    bit = int(where * len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    if unpacked(bytes(data)) == sealed:  # a few bits of RQ's compression mean nothing
        firing_range.coordinator.withdraw(firing_range.bench.CLASS, [firing_range.number])
        return

    assert firing_range.is_refused(bytes(data))


@ON_ONE_SERVER
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_chunk_with_any_bit_flipped_below_the_compression_is_refused(
    firing_range: Range, where: float
) -> None:
    data = bytearray(zlib.decompress(firing_range.fed()))
    bit = int(where * len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8

    assert firing_range.is_refused(zlib.compress(data))


@ON_ONE_SERVER
@given(secret=st.binary(min_size=1, max_size=64))
def test_a_chunk_sealed_with_another_key_is_refused(firing_range: Range, secret: bytes) -> None:
    firing_range.fed()
    chunk = firing_range.bench.chunk(
        firing_range.number, pars=pickle.dumps(Detonator(firing_range.trace))
    )
    forged = Seal(secret, firing_range.bench.instance).pack("chunk", call_of(chunk))

    assert firing_range.is_refused(zlib.compress(forged))


@pytest.mark.parametrize("other", ["its copy", "a stranger"])
def test_a_chunk_of_another_registry_is_refused(firing_range: Range, other: str) -> None:
    firing_range.fed()
    bench = firing_range.bench
    secret = bench.paths.secret.read_bytes() if other == "its copy" else secrets.token_bytes(32)
    instance = f"{bench.instance}0" if other == "its copy" else bench.instance
    chunk = bench.chunk(firing_range.number, pars=pickle.dumps(Detonator(firing_range.trace)))

    assert firing_range.is_refused(
        zlib.compress(Seal(secret, instance).pack("chunk", call_of(chunk)))
    )


def test_an_unsealed_chunk_is_refused(firing_range: Range) -> None:
    firing_range.fed()
    chunk = firing_range.bench.chunk(
        firing_range.number, pars=pickle.dumps(Detonator(firing_range.trace))
    )
    bare = msgpack.packb(call_of(chunk))

    for data in (bare, b"\x01\x00" + bare, bytes(32) + b"\x01\x00" + bare, pickle.dumps(chunk)):
        assert firing_range.is_refused(zlib.compress(data))
        firing_range.fed()


@pytest.mark.parametrize("purpose", ["event", "control", "request", "agent", "class"])
def test_a_message_of_another_purpose_is_no_chunk(firing_range: Range, purpose: str) -> None:
    firing_range.fed()
    chunk = firing_range.bench.chunk(firing_range.number)
    replayed = firing_range.bench.seal.pack(purpose, call_of(chunk))

    assert firing_range.is_refused(zlib.compress(replayed))


@pytest.mark.parametrize(
    "junk",
    [b"", b"x", b"\x00" * 200, pickle.dumps(()), zlib.compress(b""), zlib.compress(b"\0" * 40)],
)
def test_junk_is_no_chunk(firing_range: Range, junk: bytes) -> None:
    firing_range.fed()

    assert firing_range.is_refused(junk)


def test_a_chunk_of_another_major_version_is_refused_and_its_lease_dropped(
    firing_range: Range,
) -> None:
    firing_range.fed()
    seal = firing_range.bench.seal
    body = b"\x02\x00" + seal.pack("chunk", [])[34:]
    newer = zlib.compress(seal.mac("chunk", body) + body)
    firing_range.bench.client.hset(firing_range.job, "data", newer)

    with pytest.raises(UnknownVersion, match="protocol 2"):
        firing_range.agent.claim("a1", [(firing_range.bench.CLASS, 0)])

    assert firing_range.coordinator.leases() == {}


def test_a_sealed_message_that_is_no_chunk_is_refused() -> None:
    seal = Seal(secrets.token_bytes(32), "i")

    with pytest.raises(WireError):
        open_payload(seal, zlib.compress(seal.pack("chunk", ["f", None, [{"id": 1}], {}])), 1)


def test_a_payload_that_unpacks_without_end_is_refused_early() -> None:
    bomb = zlib.compressobj(1)
    data = b"".join(bomb.compress(b"\0" * (1 << 24)) for _ in range(40)) + bomb.flush()

    with pytest.raises(ForgedMessage):
        open_payload(Seal(bytes(32), "i"), data, 1)
