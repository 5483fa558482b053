"""A study on a cluster of which parts die: each job is done, and counted once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.beds import SlurmTestbed, normal_user, open_place, open_python, open_slurm
from tests.conftest import Until

from batchpilot.store.owner import read_owner
from batchpilot_broker.paths import RegistryPaths

from .conftest import Site, site_at
from .sessions import open_session


pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

JOBS = 5000
AGENTS = 8
SQUARE = """
def square(i):
    held = i > 2000 and not Path("enough").exists()
    time.sleep(0.2 if held else 0.015)
    return i * i
"""


@pytest.fixture
def four_nodes() -> Iterator[tuple[Site, SlurmTestbed]]:
    """Give nodes that are hosts of their own."""
    user = normal_user()
    with (
        open_place(user) as place,
        open_python(place, user) as python,
        open_slurm(4, netns=True) as bed,
        site_at("Slurm", place, python, bed.environment) as site,
    ):
        yield site, bed


def test_5000_jobs_outlive_a_node_and_their_coordinator(
    four_nodes: tuple[Site, SlurmTestbed], until: Until, record_property: Any
) -> None:
    site, bed = four_nodes
    two_a_node = {"ncpus": 2, "walltime": 600}
    pool = site.pool(slots=1, max_agents=AGENTS, idle_timeout=60.0, resources=two_a_node)
    with open_session(site, pool, SQUARE) as session:
        session(f"reg.batch_map(square, i=range(1, {JOBS + 1})) and reg.submit_jobs()")
        until(lambda: len(session.agents()) == AGENTS and session.done() > JOBS // 5)
        before = session.agents()
        bed.do("node-kill", "node2")
        owner = read_owner(RegistryPaths(site.place / "registry"))
        os.kill(owner.pid, signal.SIGKILL)
        killed, done = time.monotonic(), session.done()
        (site.place / "enough").touch()

        assert session("reg.wait_for_jobs(timeout=100, progress=False)")

        took = time.monotonic() - killed
        twice = session(f"tools().run_twice(reg, {JOBS})")
        results = session("list(reg.iter_results())")
        charged = session.total("charged")
        failures = session.failures()
    record_property(
        "figure",
        f"{done} jobs done at the kill, all after {took:.0f} s more,"
        f" {charged} losses charged, {twice} jobs ran twice",
    )
    assert done < JOBS
    assert {a["host"] for a in before} == {"node1", "node2", "node3", "node4"}
    assert results == [[i, i * i] for i in range(1, JOBS + 1)]
    assert charged <= 2  # what ran in the two slots of the node
    assert twice <= 2
    assert failures == []
