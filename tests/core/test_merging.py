"""Two copies of one registry, worked on apart and put together again."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, ReadOnly, StorageError
from batchpilot.notices import BatchpilotWarning
from batchpilot.repair import repair
from batchpilot.store.pages import State
from batchpilot_broker.frames import HEADER, ROW, Frame, Kind, scan


Copy = Callable[[bp.Registry], bp.Registry]


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """Give a function that copies a registry as a user does, and opens the copy."""
    made: list[bp.Registry] = []

    def copied(registry: bp.Registry) -> bp.Registry:
        target = tmp_path / f"copy{len(made)}"
        shutil.copytree(registry.file_dir, target, symlinks=True)
        with pytest.warns(BatchpilotWarning, match="is a copy"):
            made.append(bp.load_registry(target))
        made[-1].pools = bp.pools.Interactive()
        return made[-1]

    yield copied
    for one in made:
        one.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[bp.Registry]:
    """Give a registry of ten jobs that print, leave a file and return i, unless i is 5."""

    def work(i: int, job: Any) -> int:
        print(f"job {i}")  # noqa: T201 - its log
        (job.external_dir / "file").write_text(f"{job.registry.name} {i}")
        if i == 5 and not hasattr(builtins, "mended"):
            raise ValueError("five")
        return i

    with bp.make_registry(tmp_path / "target", seed=1, work_dir=tmp_path) as registry:
        registry.pools = bp.pools.Interactive()
        registry.batch_map(work, i=range(1, 11))
        yield registry


def broken_record(registry: bp.Registry, job: int) -> None:
    """Flip a bit in the record of a job."""
    (path,) = registry.paths.segments.glob("interactive-*.results")
    data = bytearray(path.read_bytes())
    frames = [f for f in scan(bytes(data)) if isinstance(f, Frame) and f.kind == Kind.ROW]
    (place,) = [f.pos for f in frames if ROW.unpack_from(f.payload)[0] == job]
    data[place + HEADER.size + ROW.size] ^= 1
    path.write_bytes(data)


def test_jobs_done_apart_are_all_done_after_the_merge(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    target.submit_jobs(range(1, 5))
    source.submit_jobs(range(6, 10))
    taken = target.merge(source)

    assert list(taken) == [6, 7, 8, 9]
    assert target.get_status().done == 8
    assert target.reduce_results_list() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert list(target.find_not_done()) == [5, 10]


def test_logs_times_memory_resources_and_files_come_along(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    target.submit_jobs([1])
    source.submit_jobs([6], {"measure_memory": True, "walltime": 60})
    target.merge(source)
    there, here = (one.get_job_table([6]).iloc[0] for one in (source, target))

    assert target.get_log(6) == ["job 6"]
    assert (target.paths.external / "6" / "file").read_text() == "copy0 6"
    assert (target.paths.external / "1" / "file").read_text() == "target 1"
    columns = ["submitted", "started", "done", "time_running", "mem_used", "resources", "job_hash"]
    assert here[columns].tolist() == there[columns].tolist()
    assert here["mem_used"] > 0


def test_the_code_of_taken_jobs_comes_along(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.batch_export({"unrelated": list(range(100))})
    source.submit_jobs([6])
    target.merge(source)
    epoch = target.read_code(6).epoch
    target.sweep()

    assert epoch == source.read_code(6).epoch
    assert target.read_code(6).function is not None


def test_a_second_merge_takes_nothing(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([5, 6])
    first = target.merge(source)
    files = sorted(target.paths.segments.iterdir())

    assert (list(first), list(target.merge(source))) == ([5, 6], [])
    assert sorted(target.paths.segments.iterdir()) == files


def test_an_error_there_is_taken_where_there_is_none_here(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([5])
    target.merge(source)

    assert target.get_error_messages()["message"].tolist() == ["ValueError: five"]
    assert target.get_log(5)[0] == "job 5"


def test_what_is_done_there_goes_before_an_error_here(target: bp.Registry, copy: Copy) -> None:
    target.submit_jobs([5])
    source = copy(target)
    source.batch_export({"mended": True})
    source.submit_jobs([5])

    assert list(target.find_error()) == [5]
    assert list(target.merge(source)) == [5]
    assert target.load_result(5) == 5


def test_what_is_done_here_stays(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    target.submit_jobs([1])
    source.submit_jobs([1])
    before = target.get_job_status([1])

    assert list(target.merge(source)) == []
    assert target.get_job_status([1]).equals(before)


def test_jobs_on_the_system_here_are_left_alone_and_told(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([1, 2])
    with target.database.write() as tx:
        tx.pages.put("state", np.array([2]), State.QUEUED)
    with pytest.warns(BatchpilotWarning, match=r"1 job\(s\) are on the system here.*: 2"):
        taken = target.merge(source)

    assert list(taken) == [1]
    assert list(target.find_queued()) == [2]


def test_a_damaged_record_is_skipped_and_told(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([1, 2, 3])
    broken_record(source, 2)
    with pytest.warns(BatchpilotWarning, match=r"1 job\(s\) have a damaged record there.*: 2"):
        taken = target.merge(source)

    assert list(taken) == [1, 3]
    assert target.reduce_results_list() == [1, 3]
    assert list(target.find_not_submitted()) == [2, *range(4, 11)]


def test_a_damaged_log_is_left_out_and_told(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([1])
    (log,) = source.paths.segments.glob("interactive-*.logs")
    log.write_bytes(log.read_bytes()[:-1])
    with pytest.warns(BatchpilotWarning, match=r"have a damaged log there"):
        target.merge(source)

    assert target.load_result(1) == 1
    assert target.get_log(1) == []


def test_where_all_records_are_damaged_nothing_is_left_behind(
    target: bp.Registry, copy: Copy
) -> None:
    source = copy(target)
    source.submit_jobs([2])
    broken_record(source, 2)
    with pytest.warns(BatchpilotWarning, match="damaged record"):
        taken = target.merge(source)

    assert not taken
    assert not list(target.paths.segments.iterdir())


def test_taken_jobs_may_be_reset_and_run_again(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([1, 2])
    target.merge(source)
    target.reset_jobs([1])
    target.submit_jobs([1])

    assert (target.paths.external / "1" / "file").read_text() == "target 1"
    assert target.reduce_results_list() == [1, 2]


def test_repair_agrees_with_a_merge(target: bp.Registry, copy: Copy, tmp_path: Path) -> None:
    source = copy(target)
    target.submit_jobs([1, 5])
    source.submit_jobs([2, 6])
    target.merge(source)
    target.reset_jobs([6])
    target.close()
    repair(target.paths)
    with bp.load_registry(tmp_path / "target") as repaired:
        assert repaired.reduce_results_list() == [1, 2]
        assert (list(repaired.find_error()), list(repaired.find_not_submitted())) == (
            [5],
            [3, 4, *range(6, 11)],
        )


@pytest.mark.parametrize("backups", ["with the backup of the merge", "with an older backup"])
def test_a_merge_survives_the_loss_of_the_database(
    target: bp.Registry, copy: Copy, tmp_path: Path, backups: str
) -> None:
    source = copy(target)
    source.submit_jobs([2, 6])
    (older,) = target.paths.backup.iterdir()
    target.merge(source)
    target.close()
    for path in tmp_path.glob("target/registry-1.db*"):
        path.unlink()
    if backups == "with an older backup":
        for path in set(target.paths.backup.iterdir()) - {older}:
            path.unlink()
    repair(target.paths)
    with bp.load_registry(tmp_path / "target") as repaired:
        assert list(repaired.find_done()) == [2, 6]
        assert repaired.reduce_results_list() == [2, 6]
        assert repaired.get_log(6) == ["job 6"]


def test_a_registry_of_another_study_is_refused(target: bp.Registry, tmp_path: Path) -> None:
    with bp.make_registry(tmp_path / "other", seed=1, work_dir=tmp_path) as other:
        other.batch_map(lambda i: i, i=range(1, 11))
        with pytest.raises(DefinitionError, match="is no copy of"):
            target.merge(other)


def test_the_first_job_that_differs_is_named_and_nothing_is_written(
    target: bp.Registry, copy: Copy
) -> None:
    target.clear()
    source = copy(target)
    target.batch_map(lambda i: i, i=[*range(2000), 1, 2])
    source.batch_map(lambda i: i, i=[*range(2000), 1, -2])
    source.submit_jobs([1])
    with pytest.raises(DefinitionError, match=r"job 2002 is not the same .*parameters differ"):
        target.merge(source)

    assert target.get_status().submitted == 0
    assert not list(target.paths.segments.iterdir())


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ({"x": range(3)}, "job 4 .*only one of the two has it"),
        ({"x": range(5)}, "job 5 .*only one of the two has it"),
        ({"n": range(4)}, "names of the parameters differ"),
    ],
)
def test_registries_with_other_jobs_are_refused(
    target: bp.Registry, copy: Copy, vectors: dict[str, Any], said: str
) -> None:
    target.clear()
    source = copy(target)
    target.batch_map(lambda **_: 0, x=range(4))
    source.batch_map(lambda **_: 0, **vectors)

    with pytest.raises(DefinitionError, match=said):
        target.merge(source)


def test_a_source_opened_for_reading_is_enough(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([1])
    with bp.load_registry(source.file_dir, writeable=False) as only_read:
        assert list(target.merge(only_read)) == [1]


def test_a_target_opened_for_reading_is_refused(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    with bp.load_registry(target.file_dir, writeable=False) as only_read:  # noqa: SIM117 - two things
        with pytest.raises(ReadOnly):
            only_read.merge(source)


def test_where_files_cannot_be_copied_nothing_is_taken(target: bp.Registry, copy: Copy) -> None:
    source = copy(target)
    source.submit_jobs([1])
    (target.file_dir / "external").write_text("no directory")
    with pytest.raises(StorageError):
        target.merge(source)

    assert target.get_status().submitted == 0
    assert not list(target.paths.segments.iterdir())


def test_many_records_of_several_segments_are_merged(target: bp.Registry, copy: Copy) -> None:
    target.clear()
    target.batch_map(lambda i: i, i=range(9000))
    source = copy(target)
    source.submit_jobs(range(4001, 9001))
    source.submit_jobs(range(1, 4001))
    target.submit_jobs([17])

    assert len(target.merge(source)) == 8999
    assert target.reduce_results_list() == list(range(9000))
