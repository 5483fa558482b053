"""A registry on two sshfs mounts of one directory, as two hosts see it, for a minute of load."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import numbers
from tests.end_to_end.edges_places.tools import OwnBroker
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.tools import assert_each_done_once
from tests.end_to_end.hosts.conftest import MAKE, MakeHost, loaded
from tests.end_to_end.network.conftest import AGENT
from tests.testbed.hosts import Host
from tests.testbed.sshfs import CACHE_SECONDS, Shared

import batchpilot as bp
from batchpilot.repair import is_sound
from batchpilot_broker.host import on_network


SECONDS = float(os.environ.get("BATCHPILOT_LOAD_SECONDS") or 60)
JOB_SECONDS = 0.02
SLOTS = 4
SEEN_WITHIN = CACHE_SECONDS + 15.0  # on a busy machine, too
LOAD = """
from tests.end_to_end.failures.work import brief
reg.batch_map(brief, i=range(1, {jobs} + 1), more_args={{"seconds": {seconds}}})
reg.submit_jobs()
"""
AGAIN = """
import sys, warnings, batchpilot as bp
warnings.simplefilter("error")
print(bp.load_registry(sys.argv[1]).get_status().done)
"""


@dataclass(frozen=True)
class Bed:
    """Hold two hosts with a mount of their own each, and the registry as each sees it."""

    owner: Host
    node: Host
    first: Path
    second: Path


@pytest.fixture
def bed(shared: Shared, broker: OwnBroker, make_host: MakeHost, tmp_path: Path) -> Bed:  # noqa: ARG001 - the broker is named in the environment
    """Give two hosts; this machine sees what the second one does."""
    first, second = (shared.mount(tmp_path / name) for name in ("first", "second"))
    hosts = make_host("login1"), make_host("node1")
    return Bed(*hosts, first=first / "study", second=second / "study")


@pytest.mark.timeout(SECONDS + 120)
def test_under_load_nothing_is_lost_doubled_or_damaged_and_results_are_found_in_time(
    bed: Bed, until: Until, tell: Tell
) -> None:
    jobs = int(0.75 * SECONDS * SLOTS / JOB_SECONDS)
    bed.owner.run(MAKE + LOAD.format(jobs=jobs, seconds=JOB_SECONDS), bed.first)
    moment = time.monotonic()
    until((bed.second / "owner.json").exists, SEEN_WITHIN)
    bed.node.run(AGENT, bed.second, f"local-{secrets.token_hex(4)}")
    with loaded(bed.second) as reg:
        assert on_network(reg.file_dir)
        until(lambda: reg.get_status().done > 0, SEEN_WITHIN)
        read, tagged = used(reg, jobs, until=moment + 3 * SECONDS)
        tell(f"{jobs} jobs in {time.monotonic() - moment:.0f} s on two hosts")
        tell(f"results are read at most {max(read):.2f} s after their jobs are seen done")
        tell(f"{len(tagged)} changes by the second host are seen there in {max(tagged):.1f} s")

        assert max(read + tagged) < SEEN_WITHIN
        assert len(reg.find_tagged("seen")) == len(tagged)
        assert reg.reduce_results_list() == list(range(1, jobs + 1))
        assert max(numbers(reg, "charged")) == 0
        assert_each_done_once(reg, jobs)
        assert len(list(reg.paths.segments.glob("local-*.results"))) == 2
    assert bed.owner.run(AGAIN, bed.first) == str(jobs), "it was taken for a copy"
    bed.owner.crash()
    databases = list(bed.first.glob("registry-*.db"))
    assert [path.name for path in databases] == ["registry-1.db"]
    assert is_sound(databases[0])


def used(reg: bp.Registry, jobs: int, *, until: float) -> tuple[list[float], list[float]]:
    """Read and tag the latest job that is seen done, again and again, while jobs run.

    Returns:
        Seconds that it took to read each result, and to see each tag.
    """
    read, tagged = [], []
    while (status := reg.get_status()).done < jobs:
        assert time.monotonic() < until, status
        assert status.expired == status.error == 0
        job = int(reg.find_done()[-1])
        asked = time.monotonic()
        assert reg.load_result(job) == job
        read.append(time.monotonic() - asked)
        if job not in reg.find_tagged("seen"):
            asked = time.monotonic()
            reg.add_job_tags(job, "seen")
            assert job in reg.find_tagged("seen")
            tagged.append(time.monotonic() - asked)
        time.sleep(0.5)
    return read, tagged
