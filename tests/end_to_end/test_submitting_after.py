"""Jobs that wait for others: with real agents, and whatever becomes of coordinator and jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Until

import batchpilot as bp
from batchpilot.errors import SubmissionError
from batchpilot.explaining import explain
from batchpilot.reasons import Cause
from batchpilot.repair import repair

from . import submitting_jobs as work
from .conftest import MakeStudy, numbers
from .failures.tools import coordinator_pid, in_office_again, kill


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    path = tmp_path / "gates"
    path.mkdir()
    return path


def waiting(make_study: MakeStudy, until: Until, gates: Path, jobs: int = 4) -> bp.Registry:
    """Give a registry whose job 1 runs, and whose others wait, each for the one before it."""
    registry = make_study()
    registry.batch_map(work.gated, i=range(1, jobs + 1), more_args={"gates": str(gates)})
    registry.submit_jobs(1)
    for job in range(2, jobs + 1):
        registry.submit_jobs(job, after=job - 1)
    until((gates / "began-1-1").exists)
    return registry


def messages(registry: bp.Registry) -> dict[int, str]:
    table = registry.get_error_messages(registry.find_expired())
    return dict(zip(table["job_id"].tolist(), table["message"].tolist(), strict=True))


def test_jobs_wait_for_the_one_before_them_and_then_run(
    make_study: MakeStudy, until: Until, gates: Path
) -> None:
    registry = waiting(make_study, until, gates, jobs=3)
    until(lambda: registry.get_status().running == 1)
    assert (registry.get_status().queued, registry.get_status().system) == (2, 3)
    assert registry.find_queued() == [2, 3]
    told = explain(registry, 3).reasons[0]
    assert told.cause is Cause.WAITING
    assert told.text.endswith("ago, waits for predecessor 2")
    for job in (1, 2, 3):
        until((gates / f"began-{job}-1").exists)
        assert not (gates / f"began-{job + 1}-1").exists()
        (gates / f"open-{job}").touch()

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert numbers(registry, "attempt") == [1, 1, 1]


def test_a_coordinator_that_is_killed_forgets_nothing_that_waits(
    make_study: MakeStudy, until: Until, gates: Path
) -> None:
    registry = waiting(make_study, until, gates)
    before = coordinator_pid(registry)
    kill(before)
    (gates / "open-1").touch()
    before = in_office_again(registry, before, until, 60.0)
    until((gates / "began-2-1").exists)
    kill(before)
    (gates / "open-2").touch()
    in_office_again(registry, before, until, 60.0)
    for job in (3, 4):
        (gates / f"open-{job}").touch()

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.reduce_results_list() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "ending",
    [
        lambda registry: registry.kill_jobs(1),
        lambda registry: (registry.kill_jobs(1), registry.submit_jobs(1)),
    ],
    ids=["killed", "killed and submitted again"],
)
def test_what_waits_for_a_killed_job_expires_down_the_chain(
    make_study: MakeStudy, until: Until, gates: Path, ending: Callable[[bp.Registry], object]
) -> None:
    registry = waiting(make_study, until, gates)
    ending(registry)
    until(lambda: registry.find_expired() == [2, 3, 4])

    assert messages(registry) == {job: f"predecessor {job - 1} failed" for job in (2, 3, 4)}
    until(lambda: registry.find_running() == registry.find_on_system())
    assert registry.get_status().started == len(registry.find_started())
    assert registry.get_job_status(2)["started"].isna().all()


def test_what_waits_for_errors_expires_and_can_be_submitted_again(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(work.failing, i=range(1, 6), fail=[True, False, False, False, False])
    registry.submit_jobs([1, 2], retries=1)
    registry.submit_jobs([4, 3], after=[1, 2])
    registry.submit_jobs(5, after=3)

    assert not registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.find_done() == [2]
    assert registry.find_error() == [1]
    assert messages(registry) == {
        **dict.fromkeys((3, 4), "predecessor 1 failed"),
        5: "predecessor 3 failed",
    }
    assert numbers(registry, "attempt") == [2, 1, 1, 1, 1]
    with pytest.raises(SubmissionError, match="job 1 cannot be waited for: it ended in an error"):
        registry.submit_jobs(3, after=1)

    registry.submit_jobs(registry.find_expired(), after=2)
    assert registry.wait_for_jobs([3, 4, 5], timeout=60, progress=False)


def test_a_job_that_tries_again_has_not_failed_yet(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(work.brittle, i=[1, 2], good=[3, 1])
    registry.submit_jobs(1, retries=2)
    registry.submit_jobs(2, after=1)

    assert registry.wait_for_jobs(timeout=60, progress=False)
    assert numbers(registry, "attempt") == [3, 1]


def test_waiting_jobs_can_be_killed_and_leave_nothing_behind(
    make_study: MakeStudy, until: Until, gates: Path
) -> None:
    registry = waiting(make_study, until, gates)

    assert registry.kill_jobs([3]) == [3]
    until(lambda: registry.find_expired() == [4])
    (gates / "open-1").touch()
    (gates / "open-2").touch()

    assert registry.wait_for_jobs([1, 2], timeout=60, progress=False)
    assert registry.find_not_submitted() == [3]
    assert messages(registry) == {4: "predecessor 3 failed"}
    assert registry.sweep()
    with registry.database.read() as tx:
        assert tx.execute("held_left").fetchone() == (0,)
        assert tx.all("waiting_gates") == []


def test_here_in_the_session_predecessors_are_done_by_then(
    make_study: MakeStudy, until: Until, gates: Path
) -> None:
    registry = waiting(make_study, until, gates, jobs=2)
    (gates / "open-2").touch()
    registry.batch_export()
    other = make_study("here", pool=bp.pools.Interactive())
    other.batch_map(work.failing, i=[1, 2], more_args={"fail": False})
    other.submit_jobs(1)
    other.submit_jobs(2, after=1)

    assert other.find_done() == [1, 2]
    registry.kill_jobs(2)
    registry.pools = bp.pools.Interactive()
    with pytest.raises(SubmissionError, match="job 1 is not done, and jobs of pool Interactive"):
        registry.submit_jobs(2, after=1)
    (gates / "open-1").touch()
    registry.pools = bp.pools.Local(slots=1)
    assert registry.wait_for_jobs(1, timeout=60, progress=False)


def test_repair_finds_what_expired_without_being_fed(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(work.failing, i=range(1, 4), fail=[True, False, False])
    registry.database.back_up(1)
    registry.submit_jobs(1)
    registry.submit_jobs([2, 3], after=1)
    registry.wait_for_jobs(timeout=60, progress=False)
    before = numbers(registry, "state"), numbers(registry, "attempt")
    paths = registry.paths
    bp.control.stop(paths)
    registry.close()
    for path in [*paths.root.glob("registry-*.db*"), *sorted(paths.backup.glob("*.db"))[1:]]:
        path.unlink()

    repair(paths)

    with bp.load_registry(paths.root) as repaired:
        assert before == (numbers(repaired, "state"), numbers(repaired, "attempt"))
        assert messages(repaired) == dict.fromkeys((2, 3), "predecessor 1 failed")
