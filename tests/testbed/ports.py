"""Ports that are lent to servers of a test, and given to nobody else meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lent_port(address: str = "127.0.0.1") -> Iterator[int]:
    """Give a port of an address of this machine, at which servers may listen and listen again.

    It is bound, but not listened at: whoever asks for any port gets another one, and a server that
    asks for this one gets it, as Redis and those of Python and Go set SO_REUSEADDR, too.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, 0))
        yield held.getsockname()[1]
