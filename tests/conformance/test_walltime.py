"""The end of the walltime is the batch system's to enforce, and no failure.

A real Slurm looks every 30 s, and its shortest limit is a minute: one waiting test.
"""

from __future__ import annotations

import time

import pytest
from tests.conftest import Until

from batchpilot_agent.allocation import read_allocation
from batchpilot_agent.launchers.inside import ask_end

from .conftest import Bed, RealSlurm


@pytest.mark.timeout(240)
def test_the_end_of_the_walltime_is_told_to_the_agent_and_no_failure(bed: Bed) -> None:
    request = bed.request(agents=2, walltime=60.0)
    submitted = bed.submit(request)
    bed.wait_for(submitted, "running", "running")
    for element in (1, 2):
        assert bed.said(request, element)  # it listens by now

    bed.hasten()
    bed.wait_for(submitted, "ended", "ended", seconds=150.0)

    told = [said["told"] for said in bed.said(request)[1:]]
    assert told == ([bed.signal] if bed.signal else [])
    assert not any(status.failed for status in bed.statuses(submitted))


def test_a_job_without_a_walltime_may_ask_when_the_site_ends_it(bed: Bed) -> None:
    limit = bed.limit()
    before = time.time()
    request = bed.request(walltime=0.0)
    submitted = bed.submit(request)
    bed.wait_for(submitted, "running")
    environment = bed.said(request)[0]["env"]
    element = read_allocation(environment, "").element
    now = time.time()

    said = ask_end(environment, element, bed.recorder, now=now, began=now)
    asking = time.time() - now

    assert said.words == ""
    assert before + limit - asking - 2.0 <= said.ends <= now + limit + 2.0
    bed.open()


@pytest.mark.cluster
def test_an_agent_whose_time_is_shortened_is_told_before_its_end(
    slurm: RealSlurm, until: Until
) -> None:
    """Slurm looks every 30 s: of a minute it tells at the end of the first half."""
    request = slurm.request(walltime=600.0)
    submitted = slurm.submit(request)
    environment = slurm.said(request)[0]["env"]
    shorten = ["scontrol", "update", f"jobid={environment['SLURM_JOB_ID']}", "timelimit=1"]
    assert slurm.recorder(shorten).code == 0

    until(lambda: len(slurm.said(request)) > 1, 70.0)

    assert slurm.said(request)[1] == {"told": "SIGUSR1"}
    slurm.wait_for(submitted, "ended")
