"""A study on every batch system: its agents come as an array, work and leave."""

from __future__ import annotations

import pytest
from tests.conftest import Until

from .conftest import Site


def test_a_study_runs_on_agents_of_one_array_that_are_listed_and_leave(
    site: Site, until: Until
) -> None:
    pool = site.pool(slots=1, max_agents=2, idle_timeout=10.0, resources={"walltime": 600})

    ran = site.study(f"[{pool}]")
    listed = site.document("agents", "list", "registry")["agents"]

    assert ran["ended"]
    assert len(ran["results"]) == 20
    name = f"{site.kind.lower()}-"
    assert all(agent.startswith(name) for agent, _ in ran["results"])
    assert {user for _, user in ran["results"]} == {site.place.stat().st_uid}
    places = list((site.place / "registry" / "allocations").iterdir())
    assert len(places) == 1
    assert {path.name for path in places[0].glob("*.out")} <= {"1.out", "2.out"}
    for agent in listed:
        assert agent["scheduler_id"][:1].isdigit()
        assert 0 < agent["deadline"] - agent["started"] <= 600
    until(lambda: site.document("agents", "list", "registry")["agents"] == [])
    assert site.document("agents", "list", "registry")["failures"] == []


@pytest.mark.cluster
def test_an_agent_of_a_pool_without_walltime_learns_its_end_from_slurm(
    slurm_site: Site, until: Until
) -> None:
    ran = slurm_site.study(f"[{slurm_site.pool(slots=1)}]", jobs=1)
    assert ran["ended"]

    def lasts() -> float:
        (agent,) = slurm_site.document("agents", "list", "registry")["agents"]
        return float(agent["deadline"] and agent["deadline"] - agent["started"])

    until(lasts)
    assert 290.0 < lasts() <= 301.0  # five minutes are the default of its partition


def test_a_request_that_cannot_be_made_pauses_its_pool_and_is_told(
    pbs_site: Site, until: Until
) -> None:
    pool = pbs_site.pool(slots=1, template="batchless")

    ran = pbs_site.study(f"[{pool}]", jobs=1, timeout=2.0)
    until(lambda: pbs_site.document("agents", "list", "registry")["failures"])

    assert not ran["ended"]
    (failure,) = pbs_site.document("agents", "list", "registry")["failures"]
    assert failure["paused"]
    assert "there is no template 'batchless'" in failure["words"]
    told = pbs_site.python.batchpilot(
        "agents", "list", "registry", environment=pbs_site.environment, cwd=pbs_site.place
    )
    assert "paused until `batchpilot agents resume`" in told.stderr


def test_a_dry_run_prints_the_script_and_submits_nothing(pbs_site: Site) -> None:
    pool = pbs_site.pool(slots=3, setup=["module load gcc"])
    pbs_site.make(pool)

    script = pbs_site.call("agents", "start", "registry", "-n", "4", "--dry-run")

    assert script.startswith("#!/bin/bash\n")
    assert "\nmodule load gcc\n" in script
    assert "1-4" in script
    assert not list((pbs_site.place / "registry" / "allocations").iterdir())


def test_what_an_agent_at_a_batch_system_says_is_shown(pbs_site: Site) -> None:
    ran = pbs_site.study(f"[{pbs_site.pool(slots=1)}]", jobs=1)
    agent = ran["results"][0][0]

    assert agent in pbs_site.call("agents", "log", "registry", agent)
