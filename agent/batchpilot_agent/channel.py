"""Messages between pilot and slot: msgpack lists framed by their length, on a stream socket."""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgpack


LENGTH = struct.Struct("<I")


def pack_message(message: list[Any]) -> bytes:
    """Return the bytes of one message."""
    body: bytes = msgpack.packb(message)
    return LENGTH.pack(len(body)) + body


class Channel:
    """Send and receive messages on a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: list[Any]) -> None:
        """Send a message."""
        self._sock.sendall(pack_message(message))

    def receive(self) -> list[Any] | None:
        """Wait for a message; None when the other side is gone."""
        head = self._read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        body = self._read(length)
        if len(body) < length:
            return None
        message: list[Any] = msgpack.unpackb(body)
        return message

    def _read(self, size: int) -> bytes:
        data = self._sock.recv(size, socket.MSG_WAITALL)
        while data and len(data) < size:  # a signal came in between
            more = self._sock.recv(size - len(data), socket.MSG_WAITALL)
            if not more:
                break
            data += more
        return data
