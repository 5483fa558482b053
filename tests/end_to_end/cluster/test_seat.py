"""Where daemons are forbidden: broker and coordinator run in allocations, one after the other."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.beds import as_user
from tests.conftest import Until
from tests.fakes.farm import Farm, Settings

from batchpilot.store.database import number_of
from batchpilot_broker.host import process_start

from .conftest import Site


PATIENT = Settings(kill=[("TERM", 0.0), ("KILL", 10.0)])
"""The signals of the least patient real batch system."""

MAKE = """
import os, socket, time
import batchpilot as bp

def job(i):
    began = time.time()
    while i >= {held} and not os.path.exists({enough!r}):
        time.sleep(0.1)
    time.sleep({seconds})
    with open({ran!r}, "a") as file:
        file.write(f"{{i}} {{began}} {{time.time()}}\\n")
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
ended = reg.wait_for_jobs(timeout=250, progress=False)
print(json.dumps({
    "ended": ended, "before": before, "after": reg.told_of_owner(),
    "results": [r for _, r in reg.iter_results()], "status": reg.get_status().as_dict(),
}))
"""


@dataclass(frozen=True)
class Study:
    """A study that was made on a site.

    Attributes:
        site: The site.
        ran: File in which each run of a job writes a line.
        enough: File that lets go what is held.
    """

    site: Site
    ran: Path
    enough: Path

    @classmethod
    def make(
        cls, site: Site, *, jobs: int, seconds: float, held: int | None = None, **pool: Any
    ) -> Study:
        """Make it: the nodes' environment is such that agents can be submitted from there.

        Args:
            site: The site.
            jobs: How many jobs it has.
            seconds: How long each takes.
            held: The first of those that are held, None for none.
            pool: What the pool is given.
        """
        ran, enough, there = site.place / "ran", site.place / "enough", site.environment
        names = ("PATH", "FARM", "SLURM_CONF")
        env = {**site.python.environment, **{n: there[n] for n in names if n in there}}
        if "FARM" in there:
            env["BATCHPILOT_BROKER_LISTEN"] = "127.0.0.1"
        kind = site.pool(env=env, **pool)
        text = MAKE.format(
            ran=str(ran),
            enough=str(enough),
            seconds=seconds,
            jobs=jobs,
            held=jobs if held is None else held,
            pool=kind,
        )
        (site.place / "make.py").write_text(text)
        site.python.run("make.py", environment=there, cwd=site.place)
        return cls(site, ran, enough)

    def record(self, name: str) -> dict[str, Any]:
        """Return a record of the registry."""
        found: dict[str, Any] = json.loads((self.registry / name).read_text())
        return found

    @property
    def registry(self) -> Path:
        """Return the registry's directory."""
        return self.site.place / "registry"

    @property
    def sitters(self) -> list[dict[str, Any]]:
        """Return what supervisors in allocations have said, the first to begin first."""
        found = [json.loads(p.read_text()) for p in self.registry.glob("allocations/*/sitter.json")]
        return sorted(found, key=lambda sitter: float(sitter["began"]))

    @property
    def runs(self) -> list[tuple[int, float, float]]:
        """Return job, begin and end of each run that has ended."""
        lines = self.ran.read_text().splitlines() if self.ran.exists() else []
        return [(int(job), float(a), float(b)) for job, a, b in (line.split() for line in lines)]

    def submit_coordinator(self, walltime: int) -> str:
        """Give the coordinator its seat, and return what the batch system calls it."""
        pool = ("--pool", self.site.kind.lower())
        words = ("coordinator", "submit", "registry", *pool, "--walltime", str(walltime))
        return self.site.call(*words).strip()


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
    out, err = session.communicate(timeout=300)
    assert session.returncode == 0, err
    printed: dict[str, Any] = json.loads(out.splitlines()[-1])
    return printed


def _is_there(pid: int) -> bool:
    return process_start(pid) != 0


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_a_chain_of_allocations_carries_a_study_and_nothing_runs_where_the_session_does(
    apart_site: Site, until: Until
) -> None:
    site = apart_site
    # An agent takes most of a node, so that the successor is on another one.
    resources = {"walltime": 600, "ncpus": 3}
    study = Study.make(site, jobs=12, seconds=4.0, slots=1, max_agents=2, resources=resources)

    first = study.submit_coordinator(96)
    session = _start(site, SUBMIT_AND_WAIT)
    until(lambda: study.record("seat.json")["job"] not in ("", first), 150)
    until(lambda: study.sitters[0]["left"], 60)
    changed = time.time()
    found = _end(session)
    listed = site.document("agents", "list", "registry")["agents"]
    told = site.call("agents", "stop", "registry").split()

    assert found["ended"]
    assert found["before"] == ""
    assert "owns" in found["after"]
    assert sorted(job for job, _, _ in study.runs) == list(range(12))
    assert any(began < changed < ended for _, began, ended in study.runs)
    assert {agent["host"] for agent in listed} <= {"node1", "node2"}
    assert set(told) == {agent["id"] for agent in listed}
    until(lambda: site.document("agents", "list", "registry")["agents"] == [])
    assert study.sitters[0]["left"] == "another one took its place"
    assert [sitter["host"] for sitter in study.sitters[:2]] == ["node1", "node2"]
    assert number_of(study.record("owner.json")["database"]) >= 4  # more on a slow machine
    assert not (study.registry / "logs" / "supervisor.log").exists()


@pytest.mark.timeout(240)
def test_where_it_was_cancelled_the_session_that_waits_asks_for_another_one(
    pbs_site: Site, until: Until
) -> None:
    site = pbs_site
    farm = Farm(Path(site.environment["FARM"]))
    farm.settings = Settings(slots=0)
    resources = {"walltime": 600}
    study = Study.make(
        site, jobs=40, seconds=0.3, held=20, slots=1, max_agents=2, resources=resources
    )

    first = study.submit_coordinator(600)
    session = _start(site, SUBMIT_AND_WAIT)
    queued = f"waits in the queue of pbs as {first}"
    assert f"coordinator: {queued}" in site.call("coordinator", "status", "registry")
    assert f"coordinator: the coordinator {queued}" in site.call("doctor", "registry")
    assert f"Coordinator: {queued}" in site.call("status", "registry")
    farm.settings = PATIENT
    until(lambda: len(study.runs) > 5)
    subprocess.run(
        [*as_user(site.python.user), "qdel", first], env=site.environment, check=True, cwd="/"
    )
    until(lambda: study.sitters[0]["left"] == "told to leave")
    at_cancel = len(study.runs)
    study.enough.touch()
    found = _end(session)

    assert found["ended"]
    assert at_cancel < 40
    assert {job for job, _, _ in study.runs} == set(range(40))
    assert study.record("seat.json")["job"] != first
    assert len(study.sitters) == 2
    assert not (study.registry / "logs" / "supervisor.log").exists()
    farm.db.close()


@pytest.mark.timeout(240)
def test_one_on_this_host_leaves_to_the_seat_and_comes_back_when_that_is_given_up(
    pbs_site: Site, until: Until
) -> None:
    site = pbs_site
    farm = Farm(Path(site.environment["FARM"]))
    farm.settings = PATIENT
    study = Study.make(site, jobs=1, seconds=0.1, slots=1, max_agents=1)
    site.call("broker", "start", "registry")
    before = study.record("logs/supervisor.json")["pid"], study.record("owner.json")["pid"]

    study.submit_coordinator(600)
    until(lambda: not any(map(_is_there, before)))
    until(lambda: study.record("owner.json")["pid"] not in (0, before[1]))
    refused = site.python.batchpilot(
        *("coordinator", "run", "registry"), environment=site.environment, cwd=site.place, code=1
    )
    again = site.python.batchpilot(
        *("coordinator", "submit", "registry", "--pool", "pbs"),
        environment=site.environment,
        cwd=site.place,
        code=1,
    )
    site.call("coordinator", "stop", "registry")
    stopped = study.sitters[0]["left"], (study.registry / "seat.json").exists()
    site.call("broker", "start", "registry")

    assert "has its seat at pbs as" in refused.stderr
    assert "has its seat at pbs as" in again.stderr
    assert stopped == ("told to leave", False)
    assert "coordinator: running" in site.call("coordinator", "status", "registry")
    assert len(study.sitters) == 1
    farm.db.close()
