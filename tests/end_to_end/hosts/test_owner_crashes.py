"""The owner's host loses its power: another one takes over, after 30 s in which nothing moved."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once, coordinator_pid
from tests.testbed.hosts import Host

from batchpilot.notices import BatchpilotWarning
from batchpilot.store.owner import read_owner
from batchpilot_broker.host import host_name

from .conftest import MAKE, loaded


JOBS = 300
SUBMIT = """
from tests.end_to_end.failures.work import brief
reg.batch_map(brief, i=range(1, int(sys.argv[2]) + 1), more_args={"seconds": 0.05})
reg.submit_jobs()
"""


def test_another_host_takes_over_and_each_job_is_done_once(
    make_study: MakeStudy, login1: Host, study: Path, until: Until, tell: Tell
) -> None:
    login1.run(MAKE + SUBMIT, study, JOBS)
    make_study.watch(study)
    with loaded(study) as reg:
        until(lambda: reg.get_status().done > 50)
        moment = login1.crash()
        with pytest.warns(BatchpilotWarning, match="taken .* over from login1"):
            assert reg.wait_for_jobs(timeout=100, progress=False)
        done = time.monotonic() - moment

        owner = read_owner(reg.paths)
        assert (owner.host, owner.database) == (host_name(), f"registry-{owner.term - 1}.db")
        assert coordinator_pid(reg)
        assert_each_done_once(reg, JOBS)
        assert max(numbers(reg, "charged")) <= 1
        tell(f"power cut of the owner to all jobs done elsewhere: {done:.0f} s")
