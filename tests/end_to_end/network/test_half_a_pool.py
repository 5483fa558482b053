"""More than half of a pool is silent at once: it is the network, so nothing is given away."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import Until
from tests.end_to_end.conftest import numbers
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.failures.work import gated
from tests.testbed.hosts import Network

from .conftest import Cluster, passed


JOBS = 8
SECONDS = 21.0
"""Longer than an agent may be silent alone."""


def test_three_of_four_agents_silent_for_21_s_keep_their_jobs(
    cluster: Cluster, network: Network, gates: Path, until: Until, tell: Tell
) -> None:
    registry = cluster.registry
    registry.batch_map(gated, i=range(1, JOBS + 1), more_args={"gates": str(gates)})
    cluster.node("node1", agents=3)
    cluster.node("node2")
    registry.submit_jobs()
    until(lambda: len(list(gates.glob("began-*-1"))) == JOBS)
    cut = network.cut("node1")
    until(lambda: time.monotonic() - cut > SECONDS)
    assert "JobsRequeued" not in cluster.log()
    passed(gates, *range(1, JOBS + 1))
    until(lambda: registry.get_status().done == 2)
    mended = network.mend("node1")

    assert registry.wait_for_jobs(timeout=60, progress=False)
    tell(f"all results {time.monotonic() - mended:.1f} s after a cut of {SECONDS:.0f} s")
    assert_each_done_once(registry, JOBS)
    assert numbers(registry, "attempt") == [1] * JOBS
    assert numbers(registry, "charged") == [0] * JOBS
