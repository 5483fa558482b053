"""The owner's coordinator sleeps through a takeover: what it then writes goes nowhere."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once, coordinator_pid
from tests.testbed.hosts import Host

from batchpilot.notices import BatchpilotWarning
from batchpilot.store.owner import read_owner
from batchpilot_broker.host import host_name

from .conftest import MAKE, loaded
from .test_owner_crashes import JOBS, SUBMIT


def test_a_zombie_ends_as_superseded_and_changes_nothing(
    make_study: MakeStudy, login1: Host, study: Path, until: Until, tell: Tell
) -> None:
    login1.run(MAKE + SUBMIT, study, JOBS)
    make_study.watch(study)
    with loaded(study) as reg:
        until(lambda: reg.get_status().done > 50)
        zombie = login1.freeze("batchpilot.coordinator")
        moment = time.monotonic()
        with pytest.warns(BatchpilotWarning, match="taken .* over from login1"):
            reg.add_job_tags(1, "taken")
        tell(f"takeover after {time.monotonic() - moment:.1f} s")
        taken = read_owner(reg.paths)
        for pid in zombie:
            os.kill(pid, signal.SIGCONT)
        until(lambda: not login1.processes("batchpilot.coordinator"))
        until(lambda: not login1.processes("batchpilot.supervisor"))

        owner = read_owner(reg.paths)
        assert (owner.host, owner.database) == (host_name(), taken.database)
        log = (reg.paths.logs / "coordinator.log").read_text()
        assert "taken over" in log or "another coordinator in office" in log
        assert reg.wait_for_jobs(timeout=60, progress=False)
        assert coordinator_pid(reg)
        assert reg.get_used_job_tags() == ["taken"]
        assert_each_done_once(reg, JOBS)
