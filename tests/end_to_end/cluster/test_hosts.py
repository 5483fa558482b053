"""A study on hosts of their own networks and names, reached by SSH; and on all kinds of pools."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from tests.conftest import Until

from batchpilot_broker.network import tcp_places

from .conftest import Site, SSHSite
from .sessions import open_session


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


FILLING = """
def fill(i):
    while i > 40 and not Path("enough").exists():
        time.sleep(0.1)
    time.sleep(0.05)
    return os.environ["BATCHPILOT_AGENT"]
"""

# So that who comes first does not take what the others are to run.
ONE_BY_ONE = "__import__('pandas').DataFrame({'job_id': range(1, 121), 'chunk': range(1, 121)})"


def test_hosts_get_an_agent_each_and_reach_the_broker_over_their_network(
    ssh_site: SSHSite, until: Until
) -> None:
    site = ssh_site.site
    env = site.python.environment
    pool = f"bp.pools.SSH(['host1', 'host2'], slots=1, idle_timeout=10.0, env={env!r})"

    with open_session(site, pool, FILLING) as session:
        session("(reg.batch_map(fill, i=range(1, 61)), reg.submit_jobs())")
        until(lambda: len(session.agents()) == 2)
        listed = site.document("agents", "list", "registry")["agents"]
        (site.place / "enough").touch()
        assert session("reg.wait_for_jobs(timeout=60, progress=False)")
        results = session("list(reg.iter_results())")

    assert len(results) == 60
    assert {agent["host"] for agent in listed} == {"host1", "host2"}
    urls = json.loads((site.place / "registry" / "broker.json").read_text())["urls"]
    assert tcp_places(urls)
    assert all(host != "0.0.0.0" for host, _ in tcp_places(urls))  # noqa: S104 - what must not be
    assert ssh_site.run_on("host1", REACH) == "reached from host1"
    until(lambda: site.document("agents", "list", "registry")["agents"] == [])


@pytest.mark.timeout(240)
def test_a_study_on_local_cores_hosts_and_slurm_at_once_is_seen_and_has_work_done_by_all(
    mixed_site: SSHSite, until: Until
) -> None:
    site: Site = mixed_site.site
    env = site.python.environment
    pools = (
        "[bp.pools.Local(slots=1),"
        f" bp.pools.SSH(['host1', 'host2'], slots=1, env={env!r}),"
        f" {site.pool(slots=1, max_agents=2, resources={'walltime': 600})}]"
    )
    with open_session(site, pools, FILLING) as session:
        session(f"(reg.batch_map(fill, i=range(1, 121)), reg.submit_jobs({ONE_BY_ONE}))")
        until(lambda: sum(bool(agent["running"]) for agent in session.agents()) == 5, 120.0)
        listed = site.document("agents", "list", "registry")["agents"]
        table, status = site.call("agents", "list", "registry"), site.call("status", "registry")
        (site.place / "enough").touch()
        assert session("reg.wait_for_jobs(timeout=60, progress=False)")
        by = Counter(agent.split("-")[0] for _, agent in session("list(reg.iter_results())"))

    assert Counter(agent["pool"] for agent in listed) == {"local": 1, "ssh": 2, "slurm": 2}
    assert {a["host"] for a in listed if a["pool"] == "ssh"} == {"host1", "host2"}
    for agent in listed:
        row = next(line for line in table.splitlines() if line.startswith(agent["id"])).split()
        assert row[1:4] == [agent["pool"], agent["host"], str(agent["pid"])]
        assert str(agent["running"][0]) in row
        assert (agent["scheduler_id"][:1].isdigit(), agent["deadline"] > 0) == (
            (True, True) if agent["pool"] == "slurm" else (False, False)
        )
    for pool in ("local", "ssh", "slurm"):
        assert pool in status
    assert set(by) == {"local", "ssh", "slurm"}
    assert by.total() == 120


def test_hosts_and_a_real_slurm_are_probed_over_their_networks(mixed_site: SSHSite) -> None:
    site = mixed_site.site
    env = site.python.environment
    pools = f"[bp.pools.SSH(['host1', 'host2'], slots=1, env={env!r}), {site.pool(slots=1)}]"
    site.make(pools)

    by_ssh = site.probed(code=0)
    by_slurm = site.probed("--pool", "slurm", code=0)

    assert re.search(r"pool ssh as host1\|\d+", by_ssh["probe"][0]["text"])
    assert ", on host1; " in by_ssh["probe"][1]["text"]
    assert all("redis://" in check["text"] for check in by_ssh["node broker"])
    assert re.fullmatch(r"submitted to pool slurm as \d+_1", by_slurm["probe"][0]["text"])
    assert {check["health"] for name in by_slurm for check in by_slurm[name]} <= {"ok", "note"}
