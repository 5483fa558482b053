"""Maps over the results of another registry."""

# ruff: noqa: ARG005 - what a function is called with is the matter here

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, JobFailed, JobNotDone

from .conftest import MakeHere


@pytest.fixture
def source(make_here: MakeHere) -> bp.Registry:
    """Give a registry in which jobs 1 to 4 are done (i squared), 5 has failed, 6 is defined."""

    def square(i: int) -> int:
        if i == 5:
            raise ValueError("five")
        return i * i

    registry = make_here()
    registry.batch_map(square, i=range(1, 7))
    registry.submit_jobs(range(1, 6))
    return registry


def results_of(registry: bp.Registry) -> list[Any]:
    registry.submit_jobs()
    return registry.reduce_results_list()


def test_every_done_job_makes_one_job(make_here: MakeHere, source: bp.Registry) -> None:
    registry = make_here()
    ids = registry.batch_map_results(lambda x: x + 1, source=source)

    assert list(ids) == [1, 2, 3, 4]
    assert results_of(registry) == [2, 5, 10, 17]


def test_jobs_carry_the_source_job_and_the_vectors_and_nothing_else(
    make_here: MakeHere, source: bp.Registry
) -> None:
    registry = make_here()
    registry.batch_map_results(lambda x, k: (x, k), source=source, k=["a", "b"])

    assert registry.get_job_pars()["job_pars"].tolist() == [
        {"_id": 1, "k": "a"},
        {"_id": 2, "k": "b"},
        {"_id": 3, "k": "a"},
        {"_id": 4, "k": "b"},
    ]
    assert list(registry.find_jobs("_id == 3 & k == 'a'")) == [3]
    assert results_of(registry) == [(1, "a"), (4, "b"), (9, "a"), (16, "b")]
    assert list(registry.results_frame(unwrap=False)) == ["job_id", "job_pars", "result"]


def test_the_order_of_the_ids_is_the_order_of_the_jobs(
    make_here: MakeHere, source: bp.Registry
) -> None:
    registry = make_here()
    registry.batch_map_results(lambda x: x, [3, 1], source=source)

    assert results_of(registry) == [9, 1]


def test_more_args_and_job_go_to_the_function(make_here: MakeHere, source: bp.Registry) -> None:
    registry = make_here()
    registry.batch_map_results(
        lambda x, y, job: (x + y, job.id, dict(job.pars)), [4], source=source, more_args={"y": 100}
    )

    assert results_of(registry) == [(116, 1, {"_id": 4})]


def test_the_registry_needs_its_source_no_more(make_here: MakeHere) -> None:
    source, registry = make_here(), make_here()
    source.batch_map(lambda n: "x" * n, n=[10, 100_000, 1_000_000])
    source.submit_jobs()
    registry.batch_map_results(len, source=source)
    source.close()
    shutil.rmtree(source.file_dir)

    assert registry.sweep()
    assert results_of(registry) == [10, 100_000, 1_000_000]
    assert registry.test_job(2) == 100_000
    assert registry.test_job(3, external=True) == 1_000_000


def test_large_results_are_stored_once_by_content(make_here: MakeHere) -> None:
    source, registry = make_here(), make_here()
    source.batch_map(lambda i: "x" * 200_000, i=range(5))
    source.submit_jobs()
    registry.batch_map_results(len, source=source)
    large = [path for path in registry.paths.objects.iterdir() if path.stat().st_size > 100_000]

    assert len(large) == 1
    assert results_of(registry) == [200_000] * 5


def test_a_result_is_not_unpickled_where_jobs_are_defined(
    make_here: MakeHere, tmp_path: Path
) -> None:
    witness = tmp_path / "unpickled"

    class Telling:
        def __reduce__(self) -> Any:
            return os.makedirs, (str(witness), 0o700, True)

    source, registry = make_here(), make_here()
    source.batch_map(lambda i: Telling(), i=[1])
    source.submit_jobs()
    registry.batch_map_results(lambda x: x, source=source)
    registry.get_job_table()
    assert not witness.exists()
    registry.submit_jobs()

    assert witness.exists()


def test_a_result_that_cannot_be_unpickled_is_the_jobs_error(make_here: MakeHere) -> None:
    class Broken:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    source, registry = make_here(), make_here()
    source.batch_map(lambda i: Broken() if i == 2 else i, i=[1, 2])
    source.submit_jobs()
    registry.batch_map_results(lambda x: x, source=source)
    registry.submit_jobs()

    assert list(registry.find_error()) == [2]
    assert "invalid literal for int()" in registry.get_error_messages()["message"][0]
    assert "the result of job 2 of the source" in registry.get_log(2)[-1]


def test_a_damaged_stored_result_is_the_jobs_error(make_here: MakeHere) -> None:
    source, registry = make_here(), make_here()
    source.batch_map(lambda i: "x" * 200_000, i=[1])
    source.submit_jobs()
    registry.batch_map_results(len, source=source)
    (large,) = (p for p in registry.paths.objects.iterdir() if p.stat().st_size > 100_000)
    large.write_bytes(pickle.dumps("forged"))
    registry.submit_jobs()

    assert "is damaged" in registry.get_error_messages()["message"][0]


def test_a_source_job_without_a_result_is_refused_by_name(
    make_here: MakeHere, source: bp.Registry
) -> None:
    registry = make_here()
    with pytest.raises(JobFailed, match="job 5 failed: ValueError: five"):
        registry.batch_map_results(lambda x: x, [1, 5], source=source)
    with pytest.raises(JobNotDone, match="job 6 is not submitted"):
        registry.batch_map_results(lambda x: x, [6], source=source)

    assert len(registry.find_jobs()) == 0


@pytest.mark.parametrize(
    ("fun", "options", "said"),
    [
        (lambda: 1, {}, "too many positional arguments"),
        (lambda x, y: x, {}, "missing a required argument: 'y'"),
        (lambda x: x, {"y": [1, 2]}, "unexpected keyword argument 'y'"),
        (lambda x, **k: x, {"args": {"_id": [1]}}, "no parameter can be called '_id'"),
        (lambda x, **k: x, {"more_args": {"job": 1}}, "no parameter can be called 'job'"),
        (lambda x, y: x, {"y": 1, "more_args": {"y": 1}}, "both as a vector and in more_args"),
    ],
)
def test_what_the_function_cannot_take_is_refused(
    make_here: MakeHere, source: bp.Registry, fun: Any, options: dict[str, Any], said: str
) -> None:
    registry = make_here()
    with pytest.raises(DefinitionError, match=said):
        registry.batch_map_results(fun, source=source, **options)

    assert len(registry.find_jobs()) == 0


def test_what_is_no_registry_is_refused(make_here: MakeHere) -> None:
    with pytest.raises(DefinitionError, match="'there' is no registry"):
        make_here().batch_map_results(lambda x: x, source="there")  # type: ignore[arg-type]  # wrong on purpose


def test_the_target_must_be_empty(source: bp.Registry) -> None:
    with pytest.raises(DefinitionError, match="holds 6 jobs already"):
        source.batch_map_results(lambda x: x, source=source)


def test_their_function_cannot_be_redefined(make_here: MakeHere, source: bp.Registry) -> None:
    registry = make_here()
    registry.batch_map_results(lambda x: x, source=source)

    with pytest.raises(DefinitionError, match="keep their function"):
        registry.redefine(lambda **values: values)


def test_tags_and_labels_go_to_all_jobs(make_here: MakeHere, source: bp.Registry) -> None:
    registry = make_here()
    registry.batch_map_results(lambda x: x, source=source, tags="second")

    assert list(registry.find_tagged("second")) == [1, 2, 3, 4]
