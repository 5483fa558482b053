"""Where daemons are forbidden: supervisor, broker and coordinator run in allocations, one by one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.beds import as_user
from tests.conftest import Until

from .conftest import Site


MAKE = """
import os, socket, time
import batchpilot as bp

def job(i):
    with open({ran!r}, "a") as file:
        file.write(f"{{i}}\\n")
    time.sleep({seconds})
    return socket.gethostname()

if __name__ == "__main__":
    reg = bp.make_registry("registry")
    reg.pools = {pool}
    reg.batch_map(job, i=range({jobs}))
"""
SUBMIT_AND_WAIT = """
import json
import batchpilot as bp
reg = bp.load_registry("registry")
before = reg.told_of_owner()
reg.submit_jobs()
ended = reg.wait_for_jobs(timeout=150, progress=False)
print(json.dumps({
    "ended": ended, "before": before, "after": reg.told_of_owner(),
    "results": [r for _, r in reg.iter_results()], "status": reg.get_status().as_dict(),
}))
"""


def _make(site: Site, *, jobs: int, seconds: float, **pool: Any) -> Path:
    """Make a study on a site; return the file in which each run of a job writes a line."""
    ran = site.place / "ran"
    text = MAKE.format(ran=str(ran), seconds=seconds, jobs=jobs, pool=site.pool(**pool))
    (site.place / "make.py").write_text(text)
    site.python.run("make.py", environment=site.environment, cwd=site.place)
    return ran


def _start(site: Site, text: str) -> subprocess.Popen[str]:
    """Start a session, which is not waited for."""
    return subprocess.Popen(
        [*as_user(site.python.user), site.python.executable, "-c", text],
        env={**site.environment, **site.python.environment},
        cwd=site.place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(session: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a session, and return what it printed."""
    out, err = session.communicate(timeout=200)
    assert session.returncode == 0, err
    printed: dict[str, Any] = json.loads(out.splitlines()[-1])
    return printed


def _record(site: Site, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site.place / "registry" / name).read_text())
    return found


def _runs(ran: Path) -> list[int]:
    return sorted(map(int, ran.read_text().split())) if ran.exists() else []


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_a_chain_of_allocations_carries_a_study_and_nothing_runs_where_the_session_does(
    apart_site: Site, until: Until
) -> None:
    site, registry = apart_site, apart_site.place / "registry"
    ran = _make(site, jobs=80, seconds=0.7, slots=1, max_agents=2, resources={"walltime": 600, "ncpus": 3})

    first = site.call("coordinator", "submit", "registry", "--pool", "slurm", "--walltime", "90")
    session = _start(site, SUBMIT_AND_WAIT)
    until(lambda: len(_runs(ran)) > 4, 90)
    second = _record(site, "owner.json")["host"]
    until(lambda: _record(site, "seat.json")["job"] not in ("", first.strip()), 90)
    during = len(_runs(ran))
    found = _end(session)

    assert found["ended"]
    assert found["before"] == ""
    assert "owns" in found["after"]
    assert set(found["results"]) == {"node1", "node2"}
    assert 4 < during < 80
    assert _runs(ran) == list(range(80))
    places = [_record(site, f"allocations/{p.parent.name}/{p.name}")
              for p in registry.glob("allocations/*/sitter.json")]
    assert {place["host"] for place in places} >= {second, _record(site, "owner.json")["host"]}
    assert len(places) == 2
    assert {place["left"] for place in places} == {"another one took its place", ""}
    assert not (registry / "logs" / "supervisor.log").exists()
