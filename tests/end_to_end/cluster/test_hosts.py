"""A study on hosts of their own networks and names, reached by SSH; and on all kinds of pools."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.conftest import Until

from batchpilot_broker.network import tcp_places

from .conftest import Site, SSHSite


pytestmark = pytest.mark.cluster

REACH = """
import dataclasses, pathlib, socket
from batchpilot_broker.access import read_access
from batchpilot_broker.connect import connect
from batchpilot_broker.paths import RegistryPaths
access = read_access(RegistryPaths(pathlib.Path("registry")))
tcp = tuple(url for url in access.urls if not url.startswith("unix:"))
connect(dataclasses.replace(access, urls=tcp)).close()
print("reached from", socket.gethostname())
"""


def test_hosts_get_an_agent_each_and_reach_the_broker_over_their_network(
    ssh_site: SSHSite, until: Until
) -> None:
    site = ssh_site.site
    env = site.python.environment
    pool = f"bp.pools.SSH(['host1', 'host2'], slots=1, idle_timeout=10.0, env={env!r})"

    ran = site.study(f"[{pool}]", jobs=20, seconds=0.3)
    listed = site.document("agents", "list", "registry")["agents"]

    assert ran["ended"]
    assert len(ran["results"]) == 20
    assert {agent["host"] for agent in listed} == {"host1", "host2"}
    urls = json.loads((site.place / "registry" / "broker.json").read_text())["urls"]
    assert tcp_places(urls)
    assert all(host != "0.0.0.0" for host, _ in tcp_places(urls))  # noqa: S104 - what must not be
    assert ssh_site.run_on("host1", REACH) == "reached from host1"
    until(lambda: site.document("agents", "list", "registry")["agents"] == [])


def test_a_study_on_local_cores_hosts_and_slurm_at_once_has_work_done_by_all(
    mixed_site: SSHSite,
) -> None:
    site: Site = mixed_site.site
    env = site.python.environment
    pools = (
        "[bp.pools.Local(slots=1),"
        f" bp.pools.SSH(['host1', 'host2'], slots=1, env={env!r}),"
        f" {site.pool(slots=1, max_agents=2, resources={'walltime': 600})}]"
    )

    ran = site.study(pools, jobs=120, seconds=0.4)
    listed = site.document("agents", "list", "registry")["agents"]
    status = site.call("status", "registry")

    assert ran["ended"]
    by_pool = Counter(agent.split("-")[0] for agent, _ in ran["results"])
    assert set(by_pool) == {"local", "ssh", "slurm"}, (by_pool, listed, status)
    assert sum(by_pool.values()) == 120
