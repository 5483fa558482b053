"""The end of the walltime in mid-work, by the agent's clock and by Slurm's; and what is asked."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any

import pytest
from tests.beds import normal_user, open_place, open_slurm
from tests.conftest import Until

from .conftest import Site, open_site
from .counting import counter_in
from .sessions import Session, open_session


pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]  # it waits for walltimes

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
JOBS = """
def work(i):
    def told(*_):
        raise bp.HandBack
    if i <= 3:  # the others die by the signal
        signal.signal(signal.SIGTERM, told)
    steps = Path.cwd() / f"steps-{i}"
    if not steps.exists():
        for _ in range(1200):
            with steps.open("a") as file:
                file.write(".")
            time.sleep(0.1)
        return 0, ""  # nobody has ended it
    return steps.stat().st_size, os.environ["BATCHPILOT_AGENT"]
"""
SUBMIT = (
    "(reg.batch_map(work, i=[1, 2, 3, 4, 5]),"
    " [reg.submit_jobs(ids, resources={'pool': pool})"
    " for ids, pool in (([1, 4], 'known'), ([2, 5], 'unknown'), ([3], 'warned'))])"
)


def pools(site: Site) -> str:
    """Return one whose agents know their walltime, and two where only Slurm does."""
    usual = {"slots": 2, "idle_timeout": 10.0}
    # Of the two agents one has to wait.
    two = {"min_agents": 2, "max_agents": 2, "throttle": 1}
    known = site.pool(name="known", resources={"walltime": 60}, **two, **usual)
    unknown = site.pool(name="unknown", directives_extra=["--time=5"], **usual)
    early = ["--time=1", "--signal=B:USR1@30"]  # at the first look, within 30 s
    warned = site.pool(name="warned", directives_extra=early, **usual)
    return f"[{known}, {unknown}, {warned}]"


def shorten(session: Session, pool: str, seconds: int) -> None:
    """Have Slurm end the agent of a pool sooner than it has told it.

    Slurm looks at the time each 30 s: the end by the agent's own clock has to be further off.
    """
    (agent,) = [agent for agent in session.agents() if agent["pool"] == pool]
    end = f"EndTime=now+{seconds}seconds"
    session.site.command("scontrol", "update", f"JobId={agent['scheduler_id']}", end)


def held(session: Session) -> list[str]:
    """Return what Slurm calls the agents that wait for one of their array to end."""
    if "known" not in {agent["pool"] for agent in session.agents()}:
        return []
    return [agent["scheduler_id"] for agent in session.awaited() if agent["pool"] == "known"]


def said(site: Site, pool: str) -> str:
    """Return what the agents of a pool, and Slurm, have said."""
    outputs = [path.read_text() for path in site.place.glob("registry/allocations/*/*.out")]
    return "".join(text for text in outputs if f" {pool}-" in text)


def queries(session: Session) -> int:
    """Return how often the coordinator has asked Slurm, as it counts itself."""
    where = session("control.coordinator_status(reg.paths)['metrics']")
    with urllib.request.urlopen(f"http://{where}/metrics") as page:
        text = page.read().decode()
    shown = re.findall(r"^batchpilot_scheduler_calls_total\{(.+)\} (\S+)$", text, re.MULTILINE)
    return sum(int(float(n)) for labels, n in shown if "query" in labels and "slurm" in labels)


def test_jobs_go_on_elsewhere_uncharged_and_slurm_is_asked_once_a_minute(
    until: Until, record_property: Any
) -> None:
    user = normal_user()
    with (
        open_slurm(min_job_age=2) as bed,  # which forgets at once what has ended
        open_place(user) as place,
        open_site("Slurm", place, user, bed.environment) as site,
    ):
        counter = counter_in(place, user, COMMANDS)
        with open_session(site, pools(site), JOBS, path=[counter.path]) as session:
            begun, steps = time.time(), site.place / "steps-2"
            session(SUBMIT)
            until(lambda: len(held(session)) == 1)
            site.command("scancel", *held(session))
            until(lambda: len(steps.read_bytes() if steps.exists() else b"") > 20)
            shorten(session, "unknown", 5)

            ended = session("reg.wait_for_jobs(timeout=150, progress=False)")
            assert ended, session("reg.get_error_messages().to_dict('records')")

            until(lambda: queries(session) == counter.count().get("squeue", 0) > 0)
            took = time.time() - begun
            results = dict(session("list(reg.iter_results())"))
            charged, failures = session.total("charged"), session.failures()
            counts = counter.count()
            unknown, warned = said(site, "unknown"), said(site, "warned")
    record_property("figure", f"asked of Slurm in {took:.0f} s: {counts}")
    assert {agent.split("-")[0] for _, agent in results.values()} == {"known", "unknown", "warned"}
    assert all(done for done, _ in results.values())
    assert charged == 0
    assert failures == []
    assert "DUE TO TIME LIMIT" in unknown
    assert "told to go by SIGTERM" in unknown
    assert "told to go by SIGUSR1" in warned
    assert counts["squeue"] <= took / 60
    assert counts["sbatch"] <= 8
    assert "scancel" not in counts
