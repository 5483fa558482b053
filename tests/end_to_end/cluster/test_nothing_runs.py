"""Nothing runs: what a user is told, can stop, and can find out by a probe; on a fake PBS."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until
from tests.fakes.farm import Farm, Settings

from .conftest import Site


NODE = ["python", "packages", "directory", "broker", "clock"]
NODE += ["scratch", "cores", "memory", "devices"]

ELSEWHERE = """#!/bin/bash
# An interpreter on a node that has another directory where the registry is.
exec {python} "${{@//$PWD/}}"
"""


@pytest.fixture
def farm(pbs_site: Site) -> Farm:
    """Give what is behind the fake PBS; nodes reach the broker by loopback."""
    pbs_site.environment["BATCHPILOT_BROKER_LISTEN"] = "127.0.0.1"
    return Farm(Path(pbs_site.environment["FARM"]))


def assign(site: Site, **options: Any) -> None:
    """Assign another pool."""
    change = f"import batchpilot as bp; bp.load_registry('registry').pools = {site.pool(**options)}"
    site.python.run("-c", change, environment=site.environment, cwd=site.place)


def queued(site: Site) -> list[str]:
    """Return what is told of agents that job 1 waits for."""
    reasons = site.document("why", "registry", "1")["reasons"]
    return [reason["text"] for reason in reasons if reason["cause"] == "agents-queued"]


def awaited(site: Site) -> list[str]:
    """Return what the batch system calls the agents that have not come yet."""
    listed = site.document("agents", "list", "registry")["awaited"]
    return [agent["scheduler_id"] for agent in listed]


@pytest.mark.timeout(240)
def test_a_job_that_waits_for_queued_agents_says_so_and_they_are_cancelled_by_name(
    pbs_site: Site, farm: Farm, until: Until
) -> None:
    farm.settings = Settings(slots=0)
    ran = pbs_site.study(f"[{pbs_site.pool(slots=1, max_agents=2)}]", jobs=5, timeout=2.0)
    seen: list[list[str]] = []

    def all_is_told() -> bool:
        seen[:] = awaited(pbs_site), queued(pbs_site)
        return [len(each) for each in seen] == [2, 1]

    until(all_is_told)
    (first, second), (told,) = seen

    assert not ran["ended"]
    assert told.startswith("2 agents of pool pbs wait to be started since ")

    pbs_site.call("agents", "stop", "registry", "99.vm", code=3)
    assert pbs_site.call("agents", "stop", "registry", first) == f"{first}\n"
    until(lambda: {e.idx: e.state for e in farm.elements(1)} == {1: "ended", 2: "queued"})

    listed = awaited(pbs_site)
    assert first not in listed
    assert second in listed

    submitted, never = pbs_site.probed("--patience", "2", code=1)["probe"]
    assert never["health"] == "bad"
    assert "not begun in time, and cancelled: Q Not Running: Job limit" in never["text"]
    assert "--patience" in never["remedy"]
    job = int(re.findall(r"\d+", submitted["text"])[-1])
    until(lambda: [element.state for element in farm.elements(job)] == ["ended"])


def test_a_probe_is_sent_as_agents_are_and_tells_what_it_finds(
    pbs_site: Site, farm: Farm, until: Until
) -> None:
    pbs_site.make(pbs_site.pool(slots=1, setup=["export SITE=here"]))

    found = pbs_site.probed(code=0)

    submitted, answered = (check["text"] for check in found["probe"])
    assert submitted == "submitted to pool pbs as 1.vm"
    assert re.match(r"began \d.* after it was submitted, on .*; answered at \d", answered)
    assert [name for name in found if name.startswith("node ")] == [f"node {n}" for n in NODE]
    assert len(found["node broker"]) >= 2  # a socket and an address
    assert {check["health"] for name in found for check in found[name]} <= {"ok", "note"}
    (place,) = (pbs_site.place / "registry" / "allocations").iterdir()
    script = (place / "script.sh").read_text()
    broker = json.loads((pbs_site.place / "registry" / "broker.json").read_text())
    assert "#PBS -l walltime=0:01:00" in script
    assert "export SITE=here" in script
    assert broker["password"] not in script
    assert (place / "probe-report.json").stat().st_mode & 0o077 == 0
    assert broker["password"] not in (place / "probe-report.json").read_text()
    until(lambda: {element.state for element in farm.elements()} == {"ended"})


def test_what_is_wrong_on_a_node_is_told_by_what_the_probe_or_its_shell_said(
    pbs_site: Site, farm: Farm, until: Until
) -> None:
    pbs_site.make(pbs_site.pool(slots=1, python="/no/such/python"))
    _, no_python = pbs_site.probed(code=1)["probe"]

    wrapper = pbs_site.place / "python"
    wrapper.write_text(ELSEWHERE.format(python=pbs_site.python.executable))
    wrapper.chmod(0o755)
    assign(pbs_site, slots=1, python=str(wrapper), work_dir=str(pbs_site.place))
    _, no_directory = pbs_site.probed("--pool", "pbs", code=1)["probe"]

    house, *_ = pbs_site.python.environment["PYTHONPATH"].rpartition(":")
    assign(pbs_site, slots=1, python="/usr/bin/python3", env={"PYTHONPATH": house})
    found = pbs_site.probed(code=1)

    assert re.search("/no/such/python: .*No such file", no_python["text"])
    assert "python" in no_python["remedy"]
    assert "is another directory than that of the registry" in no_directory["text"]
    (packages,) = found["node packages"]
    assert packages["text"].startswith("not found there: ")
    assert "redis" in packages["text"]
    assert {check["health"] for check in found["node broker"]} == {"bad"}
    until(lambda: {element.state for element in farm.elements()} == {"ended"})
