"""A node's network is cut for good: its young jobs run elsewhere, and each counts once."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import Until
from tests.end_to_end.conftest import numbers
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import applied, held_by, on_again, written
from tests.end_to_end.failures.work import gated
from tests.testbed.hosts import Network

from .conftest import Cluster, passed


def test_young_jobs_are_given_away_after_15_s_and_late_results_are_ignored(
    cluster: Cluster, network: Network, gates: Path, until: Until, tell: Tell
) -> None:
    registry = cluster.registry
    registry.batch_map(gated, i=range(1, 3), more_args={"gates": str(gates)})
    cluster.node("node1")
    registry.submit_jobs()
    until(lambda: len(list(gates.glob("began-*-1"))) == 2)
    until(lambda: registry.get_status().running == 2)
    (agent,) = cluster.agents("node1")
    held = held_by(registry, agent)
    assert held == {1: 1, 2: 1}
    cluster.node("node2")
    cluster.await_beat(agent)
    cut = network.cut("node1")
    until(lambda: on_again(registry, held), 40.0)
    tell(f"young jobs run elsewhere {time.monotonic() - cut:.1f} s after the cut")
    assert 10 < time.monotonic() - cut < 25

    passed(gates, 1)  # the cut agent finishes one, and nobody hears of it
    until(lambda: 1 in written(registry)["job"])
    passed(gates, 1, 2, attempt=2)
    assert registry.wait_for_jobs(timeout=60, progress=False)
    passed(gates, 2)
    until(lambda: len(written(registry)) == 4)
    mended = network.mend("node1")
    until(lambda: "late row" in cluster.log(), 40.0)
    tell(f"the cut agent is heard of {time.monotonic() - mended:.1f} s after it is plugged in")

    assert sorted(applied(registry)["job"].tolist()) == [1, 2]
    assert sorted(registry.reduce_results_list()) in ([1, 2], [2, 2])
    assert numbers(registry, "charged") == [1, 1]
