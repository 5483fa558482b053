"""Agents on nodes of their own network, whose only way to the broker can be cut."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.edges_places.tools import OwnBroker
from tests.end_to_end.failures.tools import broker_of
from tests.end_to_end.hosts.conftest import (
    MakeHost,
    broker,
    gates,
    make_broker,
    make_host,
    moments,
    network,
    tell,
)
from tests.testbed.hosts import Host

import batchpilot as bp
from batchpilot import control
from batchpilot_broker.keys import Keys


__all__ = ["broker", "gates", "make_broker", "make_host", "moments", "network", "tell"]

AGENT = """
import sys
from pathlib import Path
from batchpilot_agent.launch import launch_local
from batchpilot_broker.paths import RegistryPaths
launch_local(RegistryPaths(Path(sys.argv[1])), agent_id=sys.argv[2], pool="local", slots=2)
"""


class Cluster:
    """Hold a registry owned by this machine, and nodes that agents run on.

    Args:
        registry: The registry; its coordinator starts no agents itself.
        make_host: Makes nodes.
        until: Waits.
    """

    def __init__(self, registry: bp.Registry, make_host: MakeHost, until: Until) -> None:
        self.registry = registry
        self._make_host = make_host
        self._until = until

    def node(self, name: str, agents: int = 1) -> Host:
        """Make a node with agents of two slots each."""
        host = self._make_host(name)
        for _ in range(agents):
            host.run(AGENT, self.registry.file_dir, f"{name}-{secrets.token_hex(4)}")
        self._until(lambda: len(self.agents(name)) == agents)
        return host

    def agents(self, node: str) -> list[str]:
        """Return the agents of a node that the registry knows as alive."""
        live = control.agents(self.registry.paths)
        return [agent["id"] for agent in live if agent["host"] == node]

    def await_beat(self, agent: str) -> None:
        """Wait for the next beat of an agent: silence counts from there."""
        beats = Keys(self.registry.instance).beats
        with broker_of(self.registry) as client:
            before = client.hget(beats, agent)
            self._until(lambda: client.hget(beats, agent) != before)

    def log(self) -> str:
        """Return what the coordinator has said."""
        return (self.registry.paths.logs / "coordinator.log").read_text()


@pytest.fixture
def cluster(
    make_study: MakeStudy,
    broker: OwnBroker,  # noqa: ARG001 - it is named in the environment
    make_host: MakeHost,
    until: Until,
) -> Cluster:
    """Give a registry whose agents run on nodes."""
    registry = make_study()
    registry.pools = bp.pools.Local(slots=2, max_agents=8)
    control.start(registry.paths)
    registry.stop_agents()
    return Cluster(registry, make_host, until)


def passed(gates: Path, *jobs: int, attempt: int = 1) -> None:
    """Let gated jobs go."""
    for job in jobs:
        (gates / f"open-{job}-{attempt}").touch()
