"""A second login node reads a snapshot, is told who owns, and changes through the coordinator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.failures.conftest import Tell
from tests.end_to_end.failures.work import gated
from tests.testbed.hosts import Host

import batchpilot as bp
from batchpilot.cli import main
from batchpilot.errors import DefinitionError, ReadOnly, SubmissionError
from batchpilot.lots import Lot
from batchpilot.registry.enlisting import Entry
from batchpilot.resources import make_class
from batchpilot.store.owner import read_owner
from batchpilot_broker.paths import RegistryPaths

from .conftest import MAKE, loaded


JOBS = 40


@pytest.fixture
def reg(login1: Host, study: Path) -> Iterator[bp.Registry]:
    """Give a registry that login1 owns, as it is loaded here."""
    login1.run(MAKE, study)
    with loaded(study) as registry:
        yield registry


def test_it_maps_submits_waits_and_reads_results_through_the_owner(
    reg: bp.Registry, tell: Tell
) -> None:
    began = time.monotonic()
    ids = reg.batch_map(lambda i: i * i, i=range(1, JOBS + 1))
    assert reg.submit_jobs() == ids == bp.JobIds(range(1, JOBS + 1))
    assert reg.get_status().submitted == JOBS
    assert reg.wait_for_jobs(timeout=60, progress=False)
    tell(f"{JOBS} jobs mapped, submitted and done in {time.monotonic() - began:.1f} s")

    assert reg.reduce_results_list() == [i * i for i in range(1, JOBS + 1)]
    assert read_owner(reg.paths).host == "login1"
    here = Path("/var/tmp").glob(f"batchpilot-*/{reg.instance}")  # noqa: S108 - where daemons live
    assert not list(here), "a daemon was started here"


def test_it_kills_and_resets_through_the_owner(reg: bp.Registry, gates: Path, until: Until) -> None:
    reg.batch_map(gated, i=range(1, 4), more_args={"gates": str(gates)})
    reg.submit_jobs()
    until((gates / "began-1-1").exists)

    assert reg.kill_jobs([1, 3]) == bp.JobIds([1, 3])
    assert reg.find_not_submitted() == bp.JobIds([1, 3])
    (gates / "open-2-1").touch()
    assert reg.wait_for_jobs(timeout=60, progress=False)
    assert reg.reset_jobs(2) == bp.JobIds(2)
    assert reg.get_status().submitted == 0


def test_it_sets_tags_names_and_settings_through_the_owner(reg: bp.Registry) -> None:
    reg.batch_export({"scale": 3})
    reg.batch_map(lambda i: i * scale, i=[1, 2, 3])  # type: ignore[name-defined]  # noqa: F821 - it is exported
    reg.add_job_tags([1, 2], ["early", "odd"])
    assert reg.remove_job_tags(2, "odd") == bp.JobIds(2)
    reg.set_job_names([1, 3], ["first", None])
    reg.max_concurrent_jobs = 1
    reg.default_resources = {"walltime": 60}
    reg.pools = [bp.pools.Local(slots=1), bp.pools.Local(name="other", slots=1)]

    assert reg.find_tagged("odd") == bp.JobIds(1)
    assert reg.get_job_names(1).loc[0, "job_name"] == "first"
    assert (reg.max_concurrent_jobs, reg.default_resources) == (1, {"walltime": 60})
    assert [pool.name for pool in reg.pools] == ["local", "other"]
    reg.submit_jobs()
    assert reg.wait_for_jobs(timeout=60, progress=False)
    assert reg.reduce_results_list() == [3, 6, 9]


def test_what_the_owner_refuses_is_refused_here_with_the_same_words(
    reg: bp.Registry, gates: Path
) -> None:
    reg.batch_map(gated, i=[1, 2], more_args={"gates": str(gates)})

    with pytest.raises(DefinitionError, match="holds 2 jobs already"):
        reg._add_map(None, [], [], {})  # type: ignore[arg-type]  # it is refused before
    with pytest.raises(DefinitionError, match="duplicated ids"):
        reg.kill_jobs([1, 1])
    order = reg._submittable(None)
    lot = Lot(ids=order, resources={})
    entry = Entry(lot=lot, needed=make_class({}, 0), epoch="0" * 64)
    reg.submit_jobs()
    with pytest.raises(SubmissionError, match="another session has taken"):
        reg._enlist([entry.to_wire()])
    reg.kill_jobs()


def test_what_only_the_owner_can_do_is_refused_by_its_name(reg: bp.Registry) -> None:
    reg.batch_map(lambda i: i, i=[1])

    for change in (reg.sweep, reg.clear, reg.remove):
        with pytest.raises(ReadOnly, match="login1"):
            change()
    reg.pools = bp.pools.Interactive()
    with pytest.raises(ReadOnly, match="login1"):
        reg.submit_jobs()
    assert reg.get_status().submitted == 0


def test_commands_work_there_and_tell_who_owns(
    reg: bp.Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    reg.batch_map(lambda i: i, i=range(5))
    directory = str(reg.file_dir)

    for command in ("submit", "wait", "status"):
        assert main([command, directory]) == 0
    out, err = capsys.readouterr()
    assert "Done    : 5" in out
    assert "Coordinator: running" in out
    assert "login1 owns" in err


def test_a_snapshot_is_written_only_where_somebody_on_another_host_looks(
    login1: Host, study: Path, tell: Tell
) -> None:
    login1.run(MAKE + WORK, study)
    paths = RegistryPaths(study)
    assert not paths.snapshot.exists()

    with loaded(study) as registry:
        assert registry.get_status().done == JOBS
        assert paths.snapshot.stat().st_mode & 0o077 == 0
        assert registry.reduce_results_list() == list(range(JOBS))
    tell(f"snapshot of {paths.snapshot.stat().st_size >> 10} KB")


WORK = f"""
reg.batch_map(lambda i: i, i=range({JOBS}))
reg.submit_jobs()
assert reg.wait_for_jobs(progress=False)
"""
