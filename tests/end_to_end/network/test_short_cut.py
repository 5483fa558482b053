"""The network between agents and broker is cut for 5 s: nothing is given away."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import Until
from tests.end_to_end.conftest import numbers
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.failures.work import gated_or_brief
from tests.testbed.hosts import Network

from .conftest import Cluster, passed


JOBS = 3000
SECONDS = 5.0


def test_after_5_s_without_network_work_goes_on_where_it_was(
    cluster: Cluster, network: Network, gates: Path, until: Until, tell: Tell
) -> None:
    registry = cluster.registry
    registry.batch_map(
        gated_or_brief, i=range(1, JOBS + 1), more_args={"first": 1, "gates": str(gates)}
    )
    cluster.node("node1")
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 200 and (gates / "began-1-1").exists())
    cut = network.cut("node1")
    until(lambda: time.monotonic() - cut > SECONDS)
    before = registry.get_status().done
    mended = network.mend("node1")
    until(lambda: registry.get_status().done > before)
    tell(f"results come {time.monotonic() - mended:.1f} s after a cut of {SECONDS:.0f} s")
    passed(gates, 1)

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert_each_done_once(registry, JOBS)
    assert registry.load_result(1) == 1, "the long job was thrown away"
    assert max(numbers(registry, "charged")) == 0
    assert "agent_suspect" not in cluster.log()
    again = sum(attempt > 1 for attempt in numbers(registry, "attempt"))
    tell(f"{again} of {JOBS} jobs fed again")
    assert again < JOBS / 4
