"""A node behind a slow link: it takes longer, and nobody is taken for dead."""

from __future__ import annotations

import time

from tests.end_to_end.conftest import numbers
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.failures.work import brief
from tests.testbed.hosts import Network

from .conftest import Cluster


JOBS = 2000
RATE = "256kbit"


def test_a_link_of_256_kbit_costs_time_only(cluster: Cluster, network: Network, tell: Tell) -> None:
    registry = cluster.registry
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.002})
    cluster.node("node1")
    network.slow_down("node1", RATE)
    moment = time.monotonic()
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=100, progress=False)
    tell(f"{JOBS} jobs of 2 ms over {RATE}/s in {time.monotonic() - moment:.1f} s")
    assert_each_done_once(registry, JOBS)
    assert max(numbers(registry, "charged")) == 0
    assert "agent_suspect" not in cluster.log()
