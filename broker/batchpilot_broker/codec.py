"""Seal and open every message: nothing read from the broker is decoded before its seal matches.

A message is `MAC (32 bytes) | major (1) | minor (1) | msgpack body`; the MAC is BLAKE2b keyed with
the registry's secret over everything behind it, the purpose of the message ("chunk", "event",
"control", "request", "agent") and the registry's instance. So a message cannot be replayed as
another kind, nor a copy's message in the original. An unknown major version is refused, an unknown
minor accepted.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Any

import msgpack

from .errors import ForgedMessage, UnknownVersion, WireError
from .nouns import PROTOCOL_MAJOR, PROTOCOL_MINOR


MAC_SIZE = 32
_VERSION = bytes((PROTOCOL_MAJOR, PROTOCOL_MINOR))


class Seal:
    """Seal and open messages with one registry's secret.

    Args:
        secret: The 32 bytes of the registry's `secret` file.
        instance: The registry's instance; sealed messages of another one do not open.
    """

    def __init__(self, secret: bytes, instance: str) -> None:
        self._secret = secret
        self._instance = instance.encode()

    def mac(self, purpose: str, data: bytes | memoryview) -> bytes:
        """Return the 32 bytes that authenticate data for a purpose."""
        digest = blake2b(key=self._secret, digest_size=MAC_SIZE)
        digest.update(b"%s\0%s\0" % (self._instance, purpose.encode()))
        digest.update(data)
        return digest.digest()

    def pack(self, purpose: str, message: Any) -> bytes:
        """Return the sealed bytes of a message."""
        body: bytes = _VERSION + msgpack.packb(message, use_bin_type=True)
        return self.mac(purpose, body) + body

    def open(self, purpose: str, sealed: bytes) -> Any:
        """Return the message in sealed bytes.

        Raises:
            ForgedMessage: The seal does not match.
            UnknownVersion: The major version is not ours.
            WireError: The body is not what msgpack writes.
        """
        body = memoryview(sealed)[MAC_SIZE:]
        if len(body) < len(_VERSION) or not hmac.compare_digest(
            sealed[:MAC_SIZE], self.mac(purpose, body)
        ):
            raise ForgedMessage(
                f"a {purpose} message of {len(sealed)} bytes does not carry this registry's seal",
                remedy="it is ignored; if it is yours, check that both sides use the same registry",
            )
        if body[0] != PROTOCOL_MAJOR:
            raise UnknownVersion(
                f"a {purpose} message speaks protocol {body[0]}, this batchpilot {PROTOCOL_MAJOR}",
                remedy="use the same batchpilot on all hosts",
            )
        try:
            return msgpack.unpackb(body[2:], raw=False, strict_map_key=False)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise WireError(f"a sealed {purpose} message cannot be decoded: {error}") from error
