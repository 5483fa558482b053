"""Two login nodes: a host of another name that owns a registry, and this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.end_to_end.edges_places.conftest import make_broker
from tests.end_to_end.edges_places.tools import OwnBroker
from tests.end_to_end.failures.conftest import gates, moments, tell
from tests.testbed.hosts import Host, Network, missing
from tests.testbed.ports import lent_port

import batchpilot as bp
from batchpilot.notices import BatchpilotWarning


__all__ = ["gates", "make_broker", "moments", "tell"]

MAKE = """
import sys, batchpilot as bp
from batchpilot import control
reg = bp.make_registry(sys.argv[1], seed=1)
reg.pools = bp.pools.Local(slots=2)
control.start(reg.paths)
"""
"""Makes a registry on a host, with a coordinator in office."""

MakeHost = Callable[..., Host]


@pytest.fixture
def network() -> Iterator[Network]:
    """Give a network between this machine and the hosts that join it."""
    why = missing()
    if why:
        pytest.skip(why)
    made = Network()
    yield made
    made.close()


@pytest.fixture
def make_host(tmp_path: Path, network: Network) -> Iterator[MakeHost]:
    """Give a function that makes hosts on the network; they end with the test."""
    ends = ExitStack()

    def make(name: str, shared: dict[Path, Path] | None = None) -> Host:
        host = Host(name, tmp_path / "hosts", shared=shared, network=network.join(name))
        ends.callback(host.crash)
        return host

    with ends:
        yield make


@pytest.fixture
def broker(make_broker: Callable[..., OwnBroker], network: Network) -> Iterator[OwnBroker]:
    """Give a broker of the site that all hosts reach."""
    with lent_port(network.address) as port:
        yield make_broker(port=port, address=f"redis://{network.address}:{port}/0")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Name the registry's directory, as all hosts see it."""
    return tmp_path / "study"


@pytest.fixture
def login1(make_host: MakeHost, broker: OwnBroker) -> Host:  # noqa: ARG001 - it is named in the environment
    """Give the host that is to own the registry, and a broker that is seen from here, too."""
    return make_host("login1")


def loaded(directory: Path) -> bp.Registry:
    """Open a registry here, on a host that does not own it."""
    with pytest.warns(BatchpilotWarning, match="login1 owns"):
        return bp.load_registry(directory)
