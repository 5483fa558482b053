"""Agents that are cancelled, run again, and without their controller: work goes on, uncharged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.beds import SlurmTestbed, normal_user, open_place
from tests.conftest import Until

from .conftest import Site, open_site
from .sessions import Session, open_session


pytestmark = pytest.mark.cluster

AGENTS = 4
JOBS = 5000
BRIEF = """
def brief(i):
    if not Path("enough").exists():
        time.sleep(0.2)
    return i, os.environ["BATCHPILOT_AGENT"]
"""


@pytest.fixture
def session(slurm_bed: SlurmTestbed, until: Until) -> Iterator[Session]:
    """Give one with jobs that are short and many until the test has had enough."""
    user = normal_user()
    with open_place(user) as place, open_site("Slurm", place, user, slurm_bed.environment) as site:
        usual = site.pool(slots=1, max_agents=AGENTS, idle_timeout=5.0)
        requeue = {"directives_skip": ["--no-requeue"], "directives_extra": ["--requeue"]}
        again = site.pool(name="again", slots=1, max_agents=1, idle_timeout=5.0, **requeue)
        with open_session(site, f"[{usual}, {again}]", BRIEF) as session:
            session(f"(reg.batch_map(brief, i=range(1, {JOBS + 1})), reg.submit_jobs())")
            until(lambda: len(names(session)) == AGENTS + 1 and session.done() > JOBS // 100)
            yield session


def names(session: Session, pool: str = "") -> dict[str, str]:
    """Return the names of the agents of a pool, or of all, by what Slurm calls them."""
    found = session.agents()
    return {a["scheduler_id"]: a["id"] for a in found if pool in ("", a["pool"])}


def finish(session: Session) -> list[Any]:
    """Have the jobs end at once, and return their results."""
    (session.site.place / "enough").touch()
    assert session("reg.wait_for_jobs(timeout=60, progress=False)")
    assert session(f"tools().run_twice(reg, {JOBS})") == 0
    results: list[Any] = session("list(reg.iter_results())")
    return results


def cancel(session: Session, id_: str, until: Until) -> None:
    """Cancel an element or an array; wait until others have come for those that went."""
    gone = {e for e in names(session, "slurm") if e == id_ or e.startswith(f"{id_}_")}
    assert gone
    session.site.command("scancel", id_)
    until(lambda: not gone & names(session).keys())
    until(lambda: len(names(session, "slurm")) == AGENTS)


def test_cancelled_and_requeued_agents_hand_back_and_others_come(
    session: Session, until: Until
) -> None:
    site = session.site
    before = names(session, "slurm")
    arrays = {element.partition("_")[0] for element in before}
    ((requeued, first_name),) = names(session, "again").items()
    refused = site.command("scontrol", "requeue", min(before), code=1)
    site.command("scontrol", "requeue", requeued)

    cancel(session, min(before), until)
    for array in arrays:
        cancel(session, array, until)

    until(lambda: names(session).get(requeued, first_name) != first_name)
    second_name = names(session)[requeued]
    until(lambda: second_name in {agent["id"] for agent in session.agents() if agent["busy"]})
    failures, charged = session.failures(), session.total("charged")
    results = finish(session)

    assert "disabled" in refused
    assert len(arrays) == 1
    assert failures == []
    assert charged == session.total("charged") == 0
    assert {first_name, second_name} < {agent for _, (_, agent) in results}


def test_without_their_controller_agents_work_on_and_none_is_given_up(
    session: Session, slurm_bed: SlurmTestbed, until: Until
) -> None:
    site: Site = session.site
    told = min(names(session, "slurm").values())
    slurm_bed.do("ctl-stop")
    done = session.done()
    site.call("agents", "stop", "registry", told)

    until(session.failures)
    failure = session.failures()[0]
    shown = site.python.batchpilot(
        "agents", "list", "registry", environment=site.environment, cwd=site.place
    )
    until(lambda: session.done() > done + 50)
    slurm_bed.do("ctl-start")
    until(lambda: session.failures() == [])
    until(lambda: len(names(session, "slurm")) == AGENTS)
    results = finish(session)

    assert not failure["paused"]
    assert "Unable to contact slurm controller" in failure["words"]
    assert "Unable to contact slurm controller" in shown.stderr
    assert "agents of pool slurm failed to start" in shown.stderr
    assert session.total("charged") == 0
    assert len(results) == JOBS
