"""The end of the walltime is the batch system's to enforce, and no failure.

A real Slurm looks every 30 s, and its shortest limit is a minute: one waiting test.
"""

from __future__ import annotations

from .conftest import Bed


def test_the_end_of_the_walltime_is_told_to_the_agent_and_no_failure(bed: Bed) -> None:
    bed.hasten()
    request = bed.request(agents=2, walltime=60.0)
    submitted = bed.submit(request)
    bed.wait_for(submitted, "running", "running")

    bed.wait_for(submitted, "ended", "ended", seconds=110.0)

    told = [said["told"] for said in bed.said(request)[1:]]
    assert told == ([bed.signal] if bed.signal else [])
    assert not any(status.failed for status in bed.statuses(submitted))
