"""Agents on nodes are told to leave by the coordinator, also where another host asks for it."""

from __future__ import annotations

import pytest
from tests.conftest import Until

from batchpilot.notices import BatchpilotWarning

from .conftest import Cluster


COMMAND = """
import sys
from batchpilot.cli import main
sys.exit(main(["agents", sys.argv[1], sys.argv[2]]))
"""


def test_an_agent_on_a_node_leaves_when_this_host_or_another_says_so(
    cluster: Cluster, until: Until
) -> None:
    registry = cluster.registry
    node = cluster.node("node1", agents=2)
    first, second = cluster.agents("node1")

    assert registry.stop_agents([first]) == [first]
    until(lambda: cluster.agents("node1") == [second])
    node.run(COMMAND, "resume", registry.file_dir)
    node.run(COMMAND, "stop", registry.file_dir)
    until(lambda: cluster.agents("node1") == [])

    registry.batch_map(lambda i: i, i=[1])
    registry.submit_jobs()
    with pytest.warns(BatchpilotWarning, match="have not ended"):
        registry.wait_for_jobs(timeout=1, progress=False)
    node.run(COMMAND, "resume", registry.file_dir)
    assert registry.wait_for_jobs(timeout=60, progress=False)
