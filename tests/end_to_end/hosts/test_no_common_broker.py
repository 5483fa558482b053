"""A second login node that does not see the broker: it reads, and inherits."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.testbed.hosts import Host

from batchpilot.errors import BrokerUnavailable
from batchpilot.notices import BatchpilotWarning
from batchpilot.store.owner import read_owner
from batchpilot_broker.host import host_name

from .conftest import MAKE, MakeHost, loaded
from .test_owner_crashes import SUBMIT


JOBS = 900


@pytest.fixture
def apart(make_host: MakeHost) -> Host:
    """Give an owner whose broker listens on a socket of its own."""
    return make_host("login1")


@pytest.mark.timeout(240)
def test_it_sees_results_and_takes_over_only_from_a_dead_owner(
    make_study: MakeStudy, apart: Host, study: Path, until: Until, tell: Tell
) -> None:
    apart.run(MAKE + SUBMIT, study, JOBS)
    make_study.watch(study)
    with loaded(study) as reg:
        moment = time.monotonic()
        until(lambda: reg.get_status().done > 20)
        tell(f"20 results of 50 ms on 2 slots seen after {time.monotonic() - moment:.1f} s")
        with (
            # it warns, unless it sees at once that the owner lives
            warnings.catch_warnings(action="ignore", category=BatchpilotWarning),
            pytest.raises(BrokerUnavailable, match=r"login1 owns .*BATCHPILOT_BROKER_URL"),
        ):
            reg.add_job_tags(1, "mine")
        apart.crash()

        with pytest.warns(BatchpilotWarning, match="taken .* over from login1"):
            assert reg.wait_for_jobs(timeout=100, progress=False)
        assert read_owner(reg.paths).host == host_name()
        assert_each_done_once(reg, JOBS)
        assert reg.get_used_job_tags() == []
