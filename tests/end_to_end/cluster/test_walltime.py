"""The end of the walltime in mid-work, by the agent's clock and by Slurm's; and what is asked."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any

import pytest
from tests.beds import SlurmTestbed, normal_user, open_place
from tests.conftest import Until

from .conftest import Site, open_site
from .counting import counter_in
from .sessions import Session, open_session


pytestmark = pytest.mark.cluster

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
JOBS = """
def work(i):
    def told(*_):
        raise bp.HandBack
    if i <= 2:  # the others die by the signal
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
    "(reg.batch_map(work, i=[1, 2, 3, 4]),"
    " [reg.submit_jobs([n, n + 2], resources={'pool': pool})"
    " for n, pool in ((1, 'known'), (2, 'unknown'))])"
)


def pools(site: Site) -> str:
    """Return one whose agents know their walltime, one at a time, and one whose agents do not."""
    known = site.pool(
        name="known",
        slots=2,
        min_agents=2,
        max_agents=2,
        throttle=1,
        idle_timeout=10.0,
        resources={"walltime": 60},
    )
    unknown = site.pool(
        name="unknown", slots=2, max_agents=1, idle_timeout=10.0, directives_extra=["--time=1"]
    )
    return f"[{known}, {unknown}]"


def queries(session: Session) -> int:
    """Return how often the coordinator has asked Slurm, as it counts itself."""
    where = session("control.coordinator_status(reg.paths)['metrics']")
    with urllib.request.urlopen(f"http://{where}/metrics") as page:
        text = page.read().decode()
    shown = re.findall(r"^batchpilot_scheduler_calls_total\{(.+)\} (\S+)$", text, re.MULTILINE)
    return sum(int(float(n)) for labels, n in shown if "query" in labels and "slurm" in labels)


def test_jobs_go_on_elsewhere_uncharged_and_slurm_is_asked_once_a_minute(
    slurm_bed: SlurmTestbed, until: Until, record_property: Any
) -> None:
    user = normal_user()
    with open_place(user) as place, open_site("Slurm", place, user, slurm_bed.environment) as site:
        counter = counter_in(place, user, COMMANDS)
        with open_session(site, pools(site), JOBS, path=[counter.path]) as session:
            begun = time.time()
            session(SUBMIT)
            until(lambda: len(session.agents()) == 2 and len(session.awaited()) == 1)
            (waiting,) = session.awaited()
            site.command("scancel", waiting["scheduler_id"])
            # Slurm looks at the time each 30 s: the limit of a minute would be one of 60 to 90.
            (blind,) = [a["scheduler_id"] for a in session.agents() if a["pool"] == "unknown"]
            site.command("scontrol", "update", f"JobId={blind}", "EndTime=now+20seconds")

            ended = session("reg.wait_for_jobs(timeout=150, progress=False)")
            assert ended, session("reg.get_error_messages().to_dict('records')")

            until(lambda: queries(session) == counter.count().get("squeue", 0) > 0)
            took = time.time() - begun
            results = dict(session("list(reg.iter_results())"))
            charged, failures = session.total("charged"), session.failures()
            counts, apart = counter.count(), counter.apart("squeue")
    record_property("figure", f"asked of Slurm in {took:.0f} s: {counts}")
    assert {agent.split("-")[0] for _, agent in results.values()} == {"known", "unknown"}
    assert all(steps > 100 for steps, _ in results.values())
    assert charged == 0
    assert failures == []
    assert apart >= 60
    assert counts["sbatch"] <= 6
    assert counts.keys() <= {"sbatch", "squeue", "scontrol"}
