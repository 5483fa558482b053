"""Tidying up: what a sweep takes away and what it leaves, a fresh start, the end of a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest

import batchpilot as bp
from batchpilot.errors import ReadOnly, RegistryError, RegistryMissing, SubmissionError
from batchpilot.registry.whole import Registry, load_registry, make_registry
from batchpilot.store.allocations import Pilot, add_pilots
from batchpilot_broker.host import runtime_dir

from .conftest import HandMade, Make


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry of three jobs whose pool is the session."""
    with make_registry(tmp_path / "registry", seed=1, work_dir=tmp_path) as registry:
        registry.pools = bp.pools.Interactive()
        registry.batch_map(
            lambda i, job: job.external_dir.joinpath("f").write_text("x" * i), i=[1, 2, 3]
        )
        yield registry


def objects(registry: Registry) -> set[str]:
    return {path.name for path in registry.paths.objects.iterdir()}


def external(registry: Registry) -> list[str]:
    return sorted(path.name for path in registry.paths.external.iterdir())


def test_objects_that_no_submission_needs_are_removed(registry: Registry) -> None:
    first = registry.batch_export({"scale": "first"})["uri"][0]
    registry.submit_jobs()
    second = registry.batch_export({"scale": "second"})["uri"][0]
    registry.submit_jobs([1, 2])

    assert registry.sweep()
    assert Path(first).exists()  # job 3 ran with it
    registry.submit_jobs(3)
    assert registry.sweep()
    assert not Path(first).exists()
    assert Path(second).exists()
    registry.submit_jobs()
    assert registry.submit_jobs([1, 2, 3]) == [1, 2, 3]
    assert registry.reduce_results_list() == [1, 2, 3]


def test_what_defines_the_jobs_stays(tmp_path: Path) -> None:
    large = np.arange(100_000)
    with make_registry(tmp_path / "registry", work_dir=tmp_path) as registry:
        registry.batch_map(lambda x, i, k: int(x[i]) + k, x=[large], i=[1, 2], more_args={"k": 5})
        before = objects(registry)
        stray = registry.objects.put(b"nobody's")
        (registry.paths.objects / f".{stray}.1.aside").write_bytes(b"half")

        registry.sweep()

        assert objects(registry) == before
        assert registry.test_job(2) == 7


def test_external_directories_of_unsubmitted_jobs_are_removed(registry: Registry) -> None:
    registry.submit_jobs()
    (registry.paths.external / "99").mkdir()
    (registry.paths.external / "notes").mkdir()
    with registry.database.write() as tx:
        tx.pages.put("state", np.array([2]), 1)

    registry.sweep()

    assert external(registry) == ["1", "3", "notes"]


def test_a_reset_job_loses_its_external_directory_and_a_resubmitted_one_keeps_it(
    registry: Registry,
) -> None:
    registry.submit_jobs()
    (registry.paths.external / "1" / "kept").touch()
    registry.submit_jobs(1)
    registry.reset_jobs(2)

    assert external(registry) == ["1", "3"]
    assert (registry.paths.external / "1" / "kept").exists()


def test_results_and_logs_are_never_swept(lecture: HandMade) -> None:
    registry = lecture.registry
    before = {path.name: path.read_bytes() for path in registry.paths.segments.iterdir()}

    registry.sweep()

    assert {p.name: p.read_bytes() for p in registry.paths.segments.iterdir()} == before
    assert registry.reduce_results_list() == [10] * 9
    assert registry.get_log(1) == ["job 1"]
    assert registry.get_job_resources()["resources"][0] == {"memory": 2000, "walltime": 3600}


def test_logs_and_allocations_go_with_the_last_of_their_agents(hand_made: Make) -> None:
    registry = hand_made().registry
    agents = {"a1": ("7.1", 1.0), "a2": ("7.2", None), "a3": ("8.1", 2.0), "a4": ("", 3.0)}
    agents["a5"] = ("6.1", 1.0)
    waits = Pilot(
        allocation="6", number=2, pool="slurm", kind="Slurm", variables="{}", submitted=0.0
    )
    with registry.database.write() as tx:
        for agent, (allocation, ended) in agents.items():
            info = msgpack.packb({"allocation": allocation})
            tx.execute("add_agent", agent, "slurm", "n", 1, "idle", 1, 0.0, info)
            if ended is not None:
                tx.execute("end_agent", "gone", ended, agent)
            registry.paths.agent_log(agent).touch()
        add_pilots(tx, [waits])
    for allocation in ("6", "7", "8", "9"):
        (registry.paths.allocations / allocation).mkdir()
    (registry.paths.logs / "coordinator.log").touch()

    registry.sweep()

    assert sorted(path.name for path in registry.paths.logs.iterdir()) == [
        "a2.log",
        "coordinator.log",
    ]
    assert sorted(path.name for path in registry.paths.allocations.iterdir()) == ["6", "7", "9"]


@pytest.mark.parametrize("what", ["sweep", "clear", "remove"])
def test_nothing_is_tidied_while_jobs_are_on_the_system(hand_made: Make, what: str) -> None:
    hand = hand_made()
    hand.submit([1, 2])
    hand.run(2)

    with pytest.raises(SubmissionError, match="while 2 jobs are on the system") as caught:
        getattr(hand.registry, what)()

    assert "kill_jobs" in caught.value.remedy
    assert hand.registry.find_on_system() == [1, 2]


@pytest.mark.parametrize("what", ["sweep", "clear", "remove"])
def test_a_registry_for_reading_refuses(registry: Registry, what: str) -> None:
    with load_registry(registry.file_dir, writeable=False) as reader, pytest.raises(ReadOnly):
        getattr(reader, what)()


def test_after_a_fresh_start_another_map_can_be_defined(registry: Registry) -> None:
    registry.batch_export({"scale": 10})
    registry.default_resources = {"walltime": 60}
    registry.submit_jobs()
    registry.add_job_tags(1, "old")
    registry.set_job_names(1, "first")
    before = registry.instance

    registry.clear()

    assert registry.get_status().defined == 0
    assert registry.instance != before
    assert list(registry.paths.segments.iterdir()) == []
    assert list(registry.paths.allocations.iterdir()) == []
    assert not registry.paths.external.exists()
    assert (registry.seed, registry.default_resources) == (1, {"walltime": 60})
    assert list(registry.batch_export()["name"]) == ["scale"]
    assert registry.batch_map(lambda k: k * scale, k=range(1, 5)) == [1, 2, 3, 4]  # type: ignore[name-defined]  # noqa: F821 - an export
    assert registry.submit_jobs() == [1, 2, 3, 4]
    assert registry.reduce_results_list() == [10, 20, 30, 40]
    assert registry.get_job_tags()["tags"].tolist() == [None] * 4
    with load_registry(registry.file_dir) as again:
        assert again.find_done() == [1, 2, 3, 4]


def test_a_removed_registry_is_gone_and_its_place_free(registry: Registry, tmp_path: Path) -> None:
    runtime = runtime_dir(registry.instance)
    runtime.with_suffix(".lock").touch()

    assert registry.remove() == tmp_path / "registry"
    assert not (tmp_path / "registry").exists()
    assert not runtime.exists()
    assert not runtime.with_suffix(".lock").exists()
    make_registry(tmp_path / "registry", work_dir=tmp_path).close()


def test_a_link_to_the_registry_goes_with_it(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "registry")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    registry.submit_jobs(1)
    (registry.paths.external / "1" / "link").symlink_to(outside)

    load_registry(tmp_path / "link").remove()

    assert not (tmp_path / "link").is_symlink()
    assert not (tmp_path / "registry").exists()
    assert (outside / "precious").exists()


def test_what_is_no_registry_or_another_one_is_not_removed(registry: Registry) -> None:
    owner = json.loads(registry.paths.owner.read_text())
    registry.paths.owner.write_text(json.dumps({**owner, "instance": "another"}))
    with pytest.raises(RegistryError, match="another registry"):
        registry.remove()
    registry.paths.owner.unlink()
    with pytest.raises(RegistryMissing):
        registry.remove()

    assert registry.paths.secret.exists()
