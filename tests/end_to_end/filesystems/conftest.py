"""A directory that hosts share by sshfs, and a broker that all of them see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.end_to_end.hosts.conftest import (
    broker,
    make_broker,
    make_host,
    moments,
    network,
    tell,
)
from tests.testbed.sshfs import Shared, missing


__all__ = ["broker", "make_broker", "make_host", "moments", "network", "tell"]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    """Give a directory that can be mounted several times."""
    why = missing()
    if why:
        pytest.skip(why)
    made = Shared(tmp_path / "export")
    yield made
    made.close()
