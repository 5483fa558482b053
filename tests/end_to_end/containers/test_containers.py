"""A registry served as containers serve it: nothing starts by itself but what was started."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import Held, processes_of
from tests.end_to_end.containers.conftest import Site, paths_of

import batchpilot as bp
from batchpilot import control, starting
from batchpilot.errors import BatchpilotError
from batchpilot.store.owner import read_owner


def double(i: int) -> int:
    return 2 * i


def answer(address: str, path: str) -> tuple[int, str]:
    """Return status and text of an answer; status 0 where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except urllib.error.URLError:
        return 0, ""


def in_office(site: Site) -> bool:
    return site.study.is_dir() and read_owner(paths_of(site)).coordinator_alive


def started(site: Site, until: Until) -> bp.Registry:
    """Start a coordinator and an agent, and return the registry that it has made."""
    site.run("coordinator", "run", "--create", "--stay", str(site.study))
    until(lambda: paths_of(site).owner.exists() and in_office(site))
    site.run("agents", "run", str(site.study), "--pool=kubernetes", "--slots=2", host="pod-1")
    return bp.load_registry(site.study)


def test_jobs_run_on_agents_that_something_else_started(site: Site, until: Until) -> None:
    with started(site, until) as registry:
        registry.batch_map(double, i=range(20))
        registry.submit_jobs()

        assert registry.wait_for_jobs(progress=False, timeout=60)
        assert registry.reduce_results_list() == [2 * i for i in range(20)]
        assert [pool.name for pool in registry.pools] == ["kubernetes"]
        with pytest.raises(BatchpilotError, match="agents run"):
            starting.start_agents(registry.paths)
        agents = control.agents(registry.paths)
        assert [(agent["pool"], agent["slots"]) for agent in agents] == [("kubernetes", 2)]


def test_a_registry_that_is_there_is_not_made_again(site: Site, until: Until) -> None:
    registry = bp.make_registry(site.study, seed=7, work_dir=site.root)
    registry.close()
    site.run("coordinator", "run", "--create", "--stay", str(site.study))

    until(lambda: in_office(site))

    assert read_owner(paths_of(site)).id == registry.id


def test_sigterm_ends_a_coordinator_with_0_and_leaves_the_broker(site: Site, until: Until) -> None:
    coordinator = site.run("coordinator", "run", "--create", "--stay", str(site.study))
    until(lambda: paths_of(site).owner.exists() and in_office(site))

    coordinator.send_signal(signal.SIGTERM)

    assert coordinator.wait(30) == 0
    assert processes_of(paths_of(site)) == []
    assert control.broker_status(paths_of(site))["running"]


def test_an_agent_told_to_go_hands_back_its_jobs_and_another_one_runs_them(
    site: Site, until: Until, held: Held
) -> None:
    with started(site, until) as registry:
        registry.batch_map(held, i=range(2))
        registry.submit_jobs()
        until(lambda: registry.get_status().running == 2)
        agent = site.agents[0]
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(40) == 0
        site.run("agents", "run", str(site.study), "--pool=kubernetes", "--slots=2", host="pod-2")
        (site.root.parent / "gate").touch()

        assert registry.wait_for_jobs(progress=False, timeout=60)
        assert registry.reduce_results_list() == [0, 1]


def test_the_coordinator_is_healthy_and_ready_and_shows_what_is_wanted(
    site: Site, until: Until, held: Held, port: int
) -> None:
    address = f"127.0.0.1:{port}"
    listen = f"--metrics-listen={address}"
    site.run("coordinator", "run", "--create", "--stay", listen, str(site.study))
    until(lambda: answer(address, "/readyz")[0] == 200)

    with bp.load_registry(site.study) as registry:
        registry.batch_map(held, i=range(5))
        registry.submit_jobs()
        wanted = 'batchpilot_pool_wanted_agents{kind="external",pool="kubernetes"'
        until(
            lambda: any(
                line.startswith(wanted) and line.endswith(" 3.0")
                for line in answer(address, "/metrics")[1].splitlines()
            )
        )

        assert answer(address, "/healthz")[0] == 200
        assert control.agents(registry.paths) == []  # the coordinator starts none


def test_an_agent_without_a_registry_says_so_and_ends(site: Site) -> None:
    agent = site.run("agents", "run", str(site.study), "--pool=kubernetes")

    assert agent.wait(30) == 3
    assert agent.stderr is not None
    assert "no registry in" in agent.stderr.read()


def test_the_doctor_finds_all_well_from_another_host(site: Site, until: Until) -> None:
    with started(site, until):
        doctor = site.run("doctor", str(site.study), host="pod-3")

        assert doctor.wait(60) == 0
