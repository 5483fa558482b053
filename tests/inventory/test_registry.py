"""Registries: made, loaded, read only, damaged, swept, as golden/g10 has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.configuration import configuration
from batchpilot.errors import (
    DefinitionError,
    ReadOnly,
    RegistryDamaged,
    RegistryExists,
    RegistryMissing,
)
from batchpilot.notices import BatchpilotWarning

from .conftest import Make
from .golden import entries, value


def third_fails(i: int) -> int:
    if i == 3:
        raise ValueError("no 3")
    return i


@pytest.fixture
def reader(make: Make) -> bp.Registry:
    """Give a registry open for reading: jobs 1 and 2 are done, 3 failed, 4 is not submitted."""
    registry = make(third_fails, i=range(1, 5))
    registry.submit_jobs([1, 2, 3])
    return bp.load_registry(registry.file_dir, writeable=False)


@pytest.mark.parametrize("seed", [0, -3, 1.5, "one", True], ids=repr)
def test_a_seed_that_is_no_positive_number_is_refused(tmp_path: Path, seed: Any) -> None:
    with pytest.raises(DefinitionError, match="no positive whole number"):
        bp.make_registry(tmp_path / "registry", seed=seed)

    assert not (tmp_path / "registry").exists()
    assert "'seed' failed: Must be >= 1" in entries("g10")["seed_bad"]["error"]


def test_a_seed_is_drawn_from_the_originals_range(tmp_path: Path) -> None:
    low, high = value("g03", "default_seed_range_sample")
    drawn = set()
    for number in range(20):
        with bp.make_registry(tmp_path / f"r{number}", work_dir=tmp_path) as registry:
            drawn.add(registry.seed)

    assert all(1 <= seed <= 32767 for seed in (*drawn, low, high))
    assert len(drawn) > 10


def test_what_exists_is_not_made_again_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()

    with pytest.raises(RegistryExists, match=re.escape(str(tmp_path / "here"))):
        bp.make_registry(tmp_path / "here")
    assert "exists" in value("g10", "make_existing_dir")


def test_loading_what_is_no_registry_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for place, entry in (("empty", "load_no_registry"), ("nowhere", "load_missing_dir")):
        with pytest.raises(RegistryMissing, match=f"no registry in {tmp_path / place}"):
            bp.load_registry(tmp_path / place)
        assert re.search("No registry found|does not exist", value("g10", entry))


def test_a_database_of_junk_is_damage_and_never_an_empty_registry(make: Make) -> None:
    registry = make(third_fails, i=[1])
    registry.close()
    for file in registry.file_dir.glob("registry-*.db*"):
        file.write_bytes(b"junk" * 4096)

    with pytest.raises(RegistryDamaged) as caught:
        bp.load_registry(registry.file_dir).get_status()
    assert "repair" in caught.value.remedy
    assert "corrupt" in entries("g10")["load_both_corrupt"]["error"]


def test_a_registry_is_loaded_for_writing_unless_asked_otherwise(make: Make) -> None:
    """The original loads for reading by default; two writers would lose data there."""
    registry = make(third_fails, i=[1])

    with bp.load_registry(registry.file_dir) as again:
        assert again.writeable is not value("g10", "load_default_is_readonly")
    with bp.load_registry(registry.file_dir, writeable=False) as again:
        assert again.writeable is value("g10", "load_default_is_readonly")


def test_what_is_loaded_is_what_was_made(make: Make) -> None:
    registry = make(third_fails, seed=123, i=range(1, 5))
    registry.default_resources = {"walltime": 60}
    registry.max_concurrent_jobs = 3
    registry.add_job_tags(1, "a")
    registry.submit_jobs()
    registry.close()

    with bp.load_registry(registry.file_dir) as again:
        assert (again.seed, again.work_dir, again.id) == (123, registry.work_dir, registry.id)
        assert again.default_resources == {"walltime": 60}
        assert again.max_concurrent_jobs == 3
        assert again.pools == [bp.pools.Interactive()]
        assert again.get_used_job_tags() == ["a"]
        assert again.reduce_results_list() == [1, 2, 4]


def test_a_reader_sees_states_results_and_logs(reader: bp.Registry) -> None:
    assert reader.get_status().as_dict() == value("g10", "readonly_status")
    assert reader.reduce_results_list() == value("g10", "readonly_results")
    assert reader.test_job(1) == value("g10", "readonly_testJob_ok")
    assert len(reader.batch_export()) == value("g10", "readonly_batchExport_list_ok")
    assert reader.get_log(3)[-1] == "ValueError: no 3"


def test_a_reader_sees_what_is_written_meanwhile(reader: bp.Registry) -> None:
    wanted = value("g10", "readonly_merges_updates_in_memory")
    with bp.load_registry(reader.file_dir) as writer:
        writer.submit_jobs([4])

    assert list(reader.find_error()) == [wanted["errors"]]
    assert list(reader.find_done()) == wanted["done"]


CHANGES: dict[str, Callable[[bp.Registry], Any]] = {
    "readonly_sweepRegistry": lambda reg: reg.sweep(),
    "readonly_clearRegistry": lambda reg: reg.clear(),
    "readonly_removeRegistry": lambda reg: reg.remove(),
    "readonly_killJobs": lambda reg: reg.kill_jobs(),
    "readonly_resetJobs": lambda reg: reg.reset_jobs(1),
    "readonly_submitJobs": lambda reg: reg.submit_jobs(),
    "readonly_setJobNames": lambda reg: reg.set_job_names(1, "x"),
    "readonly_addJobTags": lambda reg: reg.add_job_tags(1, "x"),
    "readonly_batchExport_write": lambda reg: reg.batch_export({"x": 1}),
    "second_writer": lambda reg: reg.remove_job_tags(1, "x"),
}


@pytest.mark.parametrize("entry", CHANGES)
def test_a_reader_changes_nothing(reader: bp.Registry, entry: str) -> None:
    with pytest.raises(ReadOnly, match="open for reading only"):
        CHANGES[entry](reader)

    assert "must be writeable" in entries("g10")[entry]["error"]
    assert reader.get_status().as_dict() == value("g10", "readonly_status")


def test_of_two_writers_neither_loses_anything(make: Make) -> None:
    """The original loses the first writer's tag, or puts the second one to reading."""
    first = make(third_fails, i=range(1, 5))
    with bp.load_registry(first.file_dir) as second:
        tags = ["quick1", *value("g10", "two_writers_within_1s_lose_an_update")]
        first.add_job_tags(1, tags[0])
        second.add_job_tags(2, tags[2])
        first.add_job_tags(3, tags[1])

        assert sorted(second.get_used_job_tags()) == sorted(tags)
        assert second.writeable


def test_a_sweep_leaves_what_submitted_jobs_need(make: Make) -> None:
    registry = make(lambda i, job: job.external_dir.name * i, i=[1, 2])
    registry.submit_jobs(1, {"walltime": 10})
    registry.submit_jobs(2, {"walltime": 20})
    before, after = (value("g10", "sweep_before_after")[when] for when in ("before", "after"))

    assert left(registry) == {name: before[name] for name in ("results", "external", "resources")}
    registry.reset_jobs(2)
    assert registry.sweep() is value("g10", "sweep_returns")
    assert left(registry) == {name: after[name] for name in ("results", "external", "resources")}


def left(registry: bp.Registry) -> dict[str, int]:
    return {
        "results": len(registry.reduce_results_list()),
        "external": len(list(registry.paths.external.iterdir())),
        "resources": len(registry.get_job_resources()["resources"].dropna()),
    }


def test_tags_of_jobs_that_are_gone_are_gone(make: Make) -> None:
    registry = make(third_fails, i=range(1, 5))
    registry.add_job_tags(2, "old")
    registry.clear()
    registry.batch_map(third_fails, i=range(1, 5))

    assert registry.get_used_job_tags() == []


def test_a_home_is_a_home_from_beginning_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with bp.make_registry("~/study", work_dir="~") as registry:
        registry.pools = bp.pools.Interactive()
        registry.batch_map(lambda i: Path.cwd() / str(i), i=[1])
        registry.submit_jobs()
        assert registry.load_result(1) == tmp_path / "1"

    with bp.load_registry("~/study") as again:
        assert again.file_dir == tmp_path / "study"
        assert again.remove() == tmp_path / "study"


def test_the_configuration_gives_resources_and_a_limit(tmp_path: Path) -> None:
    wanted = value("g10", "conf_values")
    conf = tmp_path / "batchpilot.toml"
    conf.write_text(
        f"max_concurrent_jobs = {wanted['max.concurrent.jobs']}\n"
        f"[default_resources]\nwalltime = {wanted['default.resources']['walltime']}\n"
    )

    with bp.make_registry(tmp_path / "registry", work_dir=tmp_path, conf_file=conf) as registry:
        assert registry.default_resources == wanted["default.resources"]
        assert registry.max_concurrent_jobs == wanted["max.concurrent.jobs"]


def test_the_configuration_is_searched_in_the_originals_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last place is the site's here; the original's is hidden in the home."""
    order = [place.partition("/")[0] for place in value("g10", "conf_order")]
    places = {"env": "env", "cwd": "cwd", "user": "user/batchpilot", "home": "site/batchpilot"}
    monkeypatch.setenv("BATCHPILOT_SEARCH_PATH", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "site"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    found = []
    for number, name in enumerate(reversed(order), 1):
        (tmp_path / places[name]).mkdir(parents=True, exist_ok=True)
        (tmp_path / places[name] / "batchpilot.toml").write_text(
            f"max_concurrent_jobs = {number}\n"
        )
        found.append(configuration().max_concurrent_jobs)

    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["sleep", "expire.after", "compress", "my.own"])
def test_what_else_the_originals_configuration_holds_is_refused(tmp_path: Path, name: str) -> None:
    conf = tmp_path / "batchpilot.toml"
    conf.write_text(f'"{name}" = {value("g10", "conf_values")[name]!r}\n')

    with pytest.raises(DefinitionError, match=f"unknown: {re.escape(name)}"):
        bp.make_registry(tmp_path / "registry", work_dir=tmp_path, conf_file=conf)


def test_sources_are_found_below_the_work_dir_and_jobs_run_there(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "helpers.py").write_text("def plus(i): return i + 5\n")
    registry = make(
        lambda i: [plus(i), int(Path("helpers.py").exists())],  # type: ignore[name-defined]  # noqa: F821 - of the source
        source="helpers.py",
        i=[1, 2],
    )
    registry.submit_jobs()

    assert registry.reduce_results_list() == value("g10", "source_and_workdir")


def test_a_source_that_is_missing_is_told_at_once_and_by_every_job(
    make: Make, tmp_path: Path
) -> None:
    wanted = value("g10", "missing_source_makes_all_jobs_of_the_chunk_error")
    with pytest.warns(BatchpilotWarning, match=r"nope\.py fails here"):
        registry = make(third_fails, source="nope.py", i=[1, 2])
    registry.submit_jobs()
    messages = registry.get_error_messages()

    assert messages["job_id"].tolist() == wanted["ids"]
    assert (messages["message"].nunique() == 1) is wanted["same"]
    assert messages["message"].str.contains("nope.py could not be read").all()
    assert registry.work_dir == tmp_path
    with pytest.warns(BatchpilotWarning, match=r"nope\.py fails here"):
        bp.load_registry(registry.file_dir).close()
    assert "nope.R" in value("g10", "missing_source_warns_at_load")


def test_without_their_work_dir_jobs_fail_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with bp.make_registry(tmp_path / "registry", work_dir=tmp_path / "work") as registry:
        registry.pools = bp.pools.Interactive()
        registry.batch_map(third_fails, i=[1, 2])
        (tmp_path / "work").rmdir()
        registry.submit_jobs()

        assert registry.find_error() == [1, 2]
        assert (
            registry.get_error_messages()["message"]
            .str.contains("the working directory .*work")
            .all()
        )
    assert value("g10", "work_dir_missing") == "Work dir does not exist"


def test_external_directories_are_made_kept_and_removed_as_by_the_original(make: Make) -> None:
    def fun(i: int, job: Any) -> int:
        if i < 3:
            (job.external_dir / "kept").touch()
        return int((job.external_dir / "kept").exists()) if i < 3 else 0

    registry = make(fun, i=[1, 2, 3])
    registry.submit_jobs()
    external = registry.paths.external

    assert sorted(p.name for p in external.iterdir()) == value("g10", "external_dir")["dirs"]
    assert registry.reduce_results_list([1, 2]) == value("g10", "external_dir")["res"]
    registry.submit_jobs(1)
    assert (external / "1" / "kept").exists() is value("g10", "external_kept_on_resubmit")
    registry.reset_jobs(1)
    assert (external / "1").exists() is value("g10", "external_removed_by_reset")
    assert (external / "2" / "kept").exists()


def test_the_external_directory_is_at_hand_where_results_are_reduced(make: Make) -> None:
    def write(i: int, job: Any) -> None:
        (job.external_dir / "made").write_text(str(i))

    registry = make(write, i=[5, 7])
    registry.submit_jobs()

    read = registry.reduce_results_list(fun=lambda _, job: (job.external_dir / "made").read_text())
    assert read == ["5", "7"]
