"""A wait on broker lists that its owner polls, instead of blocking in it.

The agent has no threads: one connection waits in BLPOP while its socket stands in the same poll()
as the slots. Changing the lists waited for ends the pending command on the server first, so that
an element popped in between is not lost.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .access import Access
from .connect import translated
from .errors import BrokerUnavailable


if TYPE_CHECKING:
    from redis import Redis

Popped = tuple[bytes, bytes]
"""The list and the element popped from its head."""

_PATIENCE = 5.0


class Listener:
    """Wait on lists with one connection of its own.

    Args:
        access: Where the broker is, for messages.
        client: Lends its settings to the connection, and ends a pending wait.
    """

    def __init__(self, access: Access, client: Redis) -> None:
        self._access = access
        self._client = client
        self._connection: Any = None
        self._id = 0
        self._pending: tuple[str, ...] = ()
        self._caught: list[Popped] = []

    def wait(self, lists: Sequence[str]) -> bool:
        """Wait on these lists, the first first; nothing happens where just that is pending.

        Returns:
            Whether `take` has something to give already, which the socket does not show.
        """
        wanted = tuple(lists)
        with translated(self._access):
            if self._pending and self._pending != wanted:
                self._interrupt()
            if not self._pending:
                self._connected().send_command("BLPOP", *wanted, 0)
                self._pending = wanted
        return bool(self._caught)

    def fileno(self) -> int | None:
        """Return the descriptor to poll for reading, or None while nothing is waited for."""
        if not self._pending:
            return None
        sock = self._connection._sock  # noqa: SLF001 - redis-py hides its socket
        return int(sock.fileno())

    def take(self) -> list[Popped]:
        """Return what was popped, without blocking; if that is something, `wait` is due again."""
        with translated(self._access):
            if self._pending and self._connection.can_read(timeout=0):
                self._catch()
        taken, self._caught = self._caught, []
        return taken

    def close(self) -> None:
        """End the wait."""
        if self._connection is not None:
            self._connection.disconnect()
        self._connection, self._pending = None, ()

    def _connected(self) -> Any:
        if self._connection is None:
            connection: Any = self._client.connection_pool.make_connection()
            connection.connect()
            connection.send_command("CLIENT", "ID")
            self._id = connection.read_response()
            self._connection = connection
        return self._connection

    def _interrupt(self) -> None:
        """End the pending command; it may have popped something just before."""
        deadline = time.monotonic() + _PATIENCE
        # 0: the server has either answered the wait already, or not read it yet.
        while not self._client.client_unblock(self._id):
            if self._connection.can_read(timeout=0.01):
                break
            if time.monotonic() > deadline:
                raise BrokerUnavailable("the broker does not end a wait", remedy="open it again")
        self._catch()

    def _catch(self) -> None:
        answer = self._connection.read_response()
        self._pending = ()
        if answer is not None:
            self._caught.append((answer[0], answer[1]))
