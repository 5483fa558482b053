"""The lecture's map, run for real, against what the original computed."""

# ruff: noqa: NPY002, S311 - the generators that are seeded are what is tested

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batchpilot as bp

from .conftest import MakeStudy


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "g01_lecture_map.json").read_text())


def golden(name: str) -> Any:
    return GOLDEN[name]["value"]


@pytest.fixture(scope="module")
def lecture(make_shared: MakeStudy) -> bp.Registry:
    """Give the registry, all jobs done, with what was seen on the way in `seen`."""

    def draw(i: int, j: int, job: Any) -> dict[str, Any]:
        with Path("ran").open("a") as ran:
            ran.write(f"{job.id}\n")
        print(f"job {job.id} of {i} and {j}")  # noqa: T201 - a job's output
        return {
            "sum": i + j,
            "seed": job.seed,
            "resources": dict(job.resources),
            "random": random.random(),
            "numpy": np.random.random(3).tolist(),
        }

    registry = make_shared("draws")
    registry.batch_map(draw, i=range(1, 10), j=range(9, 0, -1))
    registry.submit_jobs(resources=golden("job_resources"))
    assert registry.wait_for_jobs(timeout=90) is golden("waitForJobs")
    return registry


@pytest.fixture(scope="module")
def plain(make_shared: MakeStudy) -> bp.Registry:
    def add(i: int, j: int) -> int:
        return i + j

    registry = make_shared("plain")
    ids = registry.batch_map(add, i=range(1, 10), j=range(9, 0, -1))
    assert list(ids) == golden("batchMap_ids")
    assert registry.get_status().as_dict() == golden("status_before")
    assert registry.find_submitted() == []
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=90)
    return registry


def printed(status: bp.Status) -> list[str]:
    return re.sub(r" at \S+ [\d:]+:", " at <TIME>:", str(status)).splitlines()


def test_the_parameters_are_the_originals(plain: bp.Registry) -> None:
    table = bp.unwrap(plain.get_job_pars())
    rows = table.rename(columns={"job_id": "job.id"}).to_dict("records")

    assert rows == golden("pars")


def test_jobs_are_found_by_comparisons_joined_with_an_ampersand(plain: bp.Registry) -> None:
    assert list(plain.find_jobs("i == 2 & j == 8")) == [golden("findJobs_i2_j8")]
    assert list(plain.find_jobs("i >= 7")) == golden("findJobs_i_ge_7")


def test_the_status_after_the_run_is_the_originals(plain: bp.Registry) -> None:
    assert plain.get_status().as_dict() == golden("status_after")
    assert list(plain.find_done()) == golden("findDone")


def test_the_status_prints_as_the_original_does(plain: bp.Registry) -> None:
    assert printed(plain.get_status()) == golden("status_print")


def test_the_registry_prints_as_the_original_does(plain: bp.Registry) -> None:
    places = re.sub(r"(File|Work) dir : .*", r"\1 dir : <PATH>", repr(plain)).splitlines()
    expected = [line.replace("TRUE", "True") for line in golden("registry_print")]

    assert places == [line.replace("Interactive", "Local") for line in expected]


@pytest.mark.parametrize(
    ("collect", "name"),
    [
        (lambda registry: registry.reduce_results_list(), "reduceResultsList"),
        (lambda registry: registry.load_result(1), "loadResult_1"),
        (lambda registry: registry.reduce_results(lambda a, b: a + b), "reduce_sum"),
    ],
)
def test_results_are_the_originals(
    plain: bp.Registry, collect: Callable[[bp.Registry], Any], name: str
) -> None:
    assert collect(plain) == golden(name)


def test_a_job_sees_its_seed(lecture: bp.Registry) -> None:
    assert lecture.reduce_results_list(fun=lambda r: r["seed"]) == golden("job_seeds")


def test_python_and_numpy_draw_what_the_seed_says(lecture: bp.Registry) -> None:
    seeds = golden("job_seeds")

    drawn = lecture.reduce_results_list(fun=lambda r: (r["random"], r["numpy"]))

    assert drawn == [
        (random.Random(seed).random(), np.random.RandomState(seed).random_sample(3).tolist())
        for seed in seeds
    ]


def test_resources_are_shown_to_job_and_user(lecture: bp.Registry) -> None:
    shown = lecture.get_job_resources()["resources"].tolist()

    assert shown == [golden("job_resources")] * 9
    assert lecture.reduce_results_list(fun=lambda r: r["resources"]) == shown


def test_a_job_has_its_own_log(lecture: bp.Registry) -> None:
    assert [lecture.get_log(job) for job in (1, 9)] == [["job 1 of 1 and 9"], ["job 9 of 9 and 1"]]
    assert lecture.grep_logs("of 2 and")["job_id"].tolist() == [2]


def test_the_job_table_has_the_originals_columns(lecture: bp.Registry) -> None:
    table = lecture.get_job_table()

    assert [c.replace("_", ".") for c in table.columns] == list(golden("table_columns"))
    assert table["done"].notna().all()
    assert table["batch_id"].str.startswith("local-").all()


def test_every_job_ran_once(lecture: bp.Registry) -> None:
    ran = (lecture.work_dir / "ran").read_text().split()

    assert sorted(map(int, ran)) == list(range(1, 10))


def test_the_registry_can_be_loaded_and_gone_on_with_elsewhere(lecture: bp.Registry) -> None:
    with bp.load_registry(lecture.file_dir, writeable=False) as again:
        assert again.seed == lecture.seed
        assert again.load_result(4) == lecture.load_result(4)
        with pytest.raises(bp.errors.ReadOnly, match="reading only"):
            again.kill_jobs()
