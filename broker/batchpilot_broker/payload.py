"""What stands in `data` of an RQ job: zlib over the sealed call of one chunk.

RQ packs `(func_name, instance, args, kwargs)`, so that is the form; the seal is compared before
anything is decoded. Agents open payloads without RQ.
"""

from __future__ import annotations

import zlib
from typing import Any

from .codec import Seal
from .errors import ForgedMessage, WireError
from .nouns import Chunk


FUNCTION = "batchpilot_agent.chunk"
LARGEST = 512 << 20
"""No coordinator writes a payload that unpacks to more: large parameters go by hash."""

Call = tuple[str, None, list[dict[str, Any]], dict[str, Any]]


def call_of(chunk: Chunk) -> Call:
    """Return the call that RQ is to carry for a chunk."""
    return FUNCTION, None, [chunk.to_wire()], {}


def stub(seal: Seal) -> bytes:
    """Return what replaces a payload that has done its work: the same call, without the chunk."""
    return zlib.compress(seal.pack("chunk", (FUNCTION, None, [], {})))


def open_payload(seal: Seal, data: bytes, number: int) -> Chunk:
    """Return the chunk in `data` of the RQ job with a number.

    Raises:
        ForgedMessage: It is not what a coordinator of this registry wrote for this job.
        UnknownVersion: It speaks another major version.
        WireError: The seal matches, but it holds no chunk.
    """
    call = seal.open("chunk", _unpacked(data))
    try:
        chunk = Chunk.from_wire(call[2][0])
    except (LookupError, TypeError, ValueError) as error:
        raise WireError(
            f"chunk {number} cannot be read: {error!r}", remedy="use one batchpilot on all hosts"
        ) from error
    if chunk.id != number:
        raise ForgedMessage(
            f"the job of chunk {number} carries chunk {chunk.id}",
            remedy="it is ignored; somebody has copied it with the broker's password",
        )
    return chunk


def _unpacked(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        sealed = stream.decompress(data, LARGEST)
    except zlib.error as error:
        raise _damaged(data) from error
    if not stream.eof:
        raise _damaged(data)
    return sealed


def _damaged(data: bytes) -> ForgedMessage:
    return ForgedMessage(
        f"a chunk of {len(data)} bytes is damaged, or was not written by batchpilot",
        remedy="it is ignored, and its jobs are fed again",
    )
