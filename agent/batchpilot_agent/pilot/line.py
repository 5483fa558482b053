"""The pilot's end of the socket to a slot (see `channel`): it never waits for the other side."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

import msgpack

from batchpilot_agent.channel import LENGTH, pack_message


_READ = 1 << 16


class Line:
    """Send and receive messages without blocking.

    Attributes:
        closed: Whether the other end has gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out: deque[memoryview] = deque()
        self._in = bytearray()
        self.closed = False

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        """Tell whether bytes wait until the other side reads."""
        return bool(self._out)

    def send(self, message: list[Any]) -> None:
        """Send a message, or keep what the socket does not take for `flush`."""
        self._out.append(memoryview(pack_message(message)))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._out and not self.closed:
            try:
                sent = self._sock.send(self._out[0])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._out.clear()  # what it had said before can still be read
                return
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()

    def receive(self) -> list[list[Any]]:
        """Return the messages that have arrived whole."""
        while not self.closed:
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self.closed = not data
            self._in += data
        return self._split()

    def close(self) -> None:
        """Close the socket."""
        self.closed = True
        self._sock.close()

    def _split(self) -> list[list[Any]]:
        messages = []
        start = 0
        while len(self._in) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._in, start)
            end = start + LENGTH.size + length
            if end > len(self._in):
                break
            messages.append(msgpack.unpackb(bytes(self._in[start + LENGTH.size : end]), raw=False))
            start = end
        del self._in[:start]
        return messages
