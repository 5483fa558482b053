"""Ports that are lent to servers of a test, and given to nobody else meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def lent_port() -> Iterator[int]:
    """Give a port of loopback at which a server may listen.

    It is bound, but not listened at: whoever asks for any port gets another one, and a server that
    asks for this one gets it, as those of Python and Go set SO_REUSEADDR, too.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def port() -> Iterator[int]:
    """Lend a port for a test."""
    with lent_port() as lent:
        yield lent
