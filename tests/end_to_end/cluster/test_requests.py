"""What Slurm refuses, and what it holds back: a partition that is not there, a throttled array."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import pytest
from tests.beds import SlurmTestbed, normal_user, open_place
from tests.conftest import Until

from .conftest import open_site
from .sessions import Session, open_session


pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

JOB = """
def job(i):
    begun = time.time()
    if not Path("enough").exists():
        time.sleep(0.1)
    return os.environ["BATCHPILOT_AGENT"], begun, time.time()
"""


def with_work(session: Session, seen: set[str]) -> set[str]:
    """Add the agents at work to those seen so before: between two chunks one seems idle."""
    seen |= {agent["id"] for agent in session.agents() if agent["busy"]}
    return seen


def array_of(agent: str) -> str:
    """Return the allocation that an agent belongs to, by its name."""
    return agent.split("-")[1]


def most_at_once(ran: Iterable[tuple[str, float, float]]) -> int:
    """Return how many agents had work at once, each from its first job to its last."""
    spans: dict[str, tuple[float, float]] = {}
    for agent, begun, ended in ran:
        first, last = spans.get(agent, (begun, ended))
        spans[agent] = min(first, begun), max(last, ended)
    steps = sorted([(b, 1) for b, _ in spans.values()] + [(e, -1) for _, e in spans.values()])
    return max(accumulate(step for _, step in steps))


def test_a_partition_that_is_not_there_pauses_its_pool_until_it_is_mended_and_resumed(
    slurm_bed: SlurmTestbed, until: Until
) -> None:
    user = normal_user()
    with open_place(user) as place, open_site("Slurm", place, user, slurm_bed.environment) as site:
        wrong = site.pool(slots=1, idle_timeout=5.0, resources={"partition": "nosuch"})
        right = site.pool(slots=1, idle_timeout=5.0, resources={"partition": "short"})
        with open_session(site, wrong, JOB) as session:
            session("(reg.batch_map(job, i=range(10)), reg.submit_jobs())")
            until(session.failures)
            (failure,) = session.failures()
            why = site.call("why", "registry", "1")
            session(f"setattr(reg, 'pools', {right})")
            site.call("agents", "resume", "registry")
            assert session("reg.wait_for_jobs(timeout=60, progress=False)")
            assert session.failures() == []

    assert failure["paused"]
    assert "invalid partition specified: nosuch" in failure["words"]
    assert "the pool is paused until `batchpilot agents resume`" in why


def test_of_a_throttled_array_never_more_agents_are_at_work_than_it_allows(
    slurm_bed: SlurmTestbed, until: Until
) -> None:
    user = normal_user()
    most, first, seen = 2, set[str](), set[str]()
    with open_place(user) as place, open_site("Slurm", place, user, slurm_bed.environment) as site:
        pool = site.pool(slots=1, max_agents=5, throttle=most, idle_timeout=5.0)
        with open_session(site, pool, JOB) as session:
            session("(reg.batch_map(job, i=range(5000)), reg.submit_jobs())")
            until(
                lambda: (
                    len(with_work(session, first)) == most and len(session.awaited()) == 5 - most
                )
            )
            for agent in first:  # who leaves makes room for the next ones
                site.call("agents", "stop", "registry", agent)
            until(lambda: len(with_work(session, seen) - first) > most)
            (place / "study" / "enough").touch()
            assert session("reg.wait_for_jobs(timeout=60, progress=False)")
            ran = [result for _, result in session("list(reg.iter_results())")]

    assert len({agent for agent, _, _ in ran}) > most
    for array in {array_of(agent) for agent, _, _ in ran}:
        assert most_at_once(job for job in ran if array_of(job[0]) == array) <= most
