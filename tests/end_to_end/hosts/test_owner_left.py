"""The day after, on another login node: no coordinator is in office anywhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.end_to_end.conftest import MakeStudy
from tests.end_to_end.failures.conftest import Tell
from tests.testbed.hosts import Host

from batchpilot.notices import BatchpilotWarning

from .conftest import MAKE, MakeHost, loaded


COME_BACK = """
import sys, warnings, batchpilot as bp
warnings.simplefilter("ignore")
reg = bp.load_registry(sys.argv[1])
print(reg.get_status().done, reg.told_of_owner())
"""
STAY = """
reg.batch_map(lambda i: i, i=range(20))
control.stop(reg.paths)
print("left", flush=True)
input_ = sys.argv[2]
import os, time
while not os.path.exists(input_): time.sleep(0.05)
try:
    reg.add_job_tags(1, "stale")
except bp.BatchpilotError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def apart(make_host: MakeHost) -> Host:
    """Give an owner whose broker listens on a socket of its own."""
    return make_host("login1")


def test_a_session_elsewhere_reads_at_once_goes_on_after_30_s_and_old_sessions_are_told(
    make_study: MakeStudy, apart: Host, study: Path, tmp_path: Path, tell: Tell
) -> None:
    old = apart.start(MAKE + STAY, study, tmp_path / "go")
    assert old.stdout is not None
    assert old.stdout.readline() == "left\n"
    make_study.watch(study)
    with loaded(study) as reg:
        assert reg.get_status().defined == 20
        moment = time.monotonic()
        with (
            pytest.warns(BatchpilotWarning, match="no coordinator on login1"),
            pytest.warns(BatchpilotWarning, match="taken .* over from login1"),
        ):
            reg.submit_jobs()
        tell(f"submitted after {time.monotonic() - moment:.1f} s")
        assert reg.wait_for_jobs(timeout=60, progress=False)
        (tmp_path / "go").touch()
        out, _ = old.communicate(timeout=30)

        assert "OwnershipLost" in out
        assert "load the registry again" in out
        assert reg.get_used_job_tags() == []
        back = apart.run(COME_BACK, study)
        assert back.startswith("20 ")
        assert "owns" in back
