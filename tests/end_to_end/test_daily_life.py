"""The daily life of a registry on real agents: exports, sources, limits, tidying up."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tests.conftest import Until

import batchpilot as bp
from batchpilot import control
from batchpilot_broker.host import runtime_dir

from .conftest import Held, MakeStudy, processes_of


WAIT = 60


def finish(registry: bp.Registry, **resources: Any) -> list[Any]:
    registry.submit_jobs(resources=resources)
    registry.wait_for_jobs(timeout=WAIT, progress=False)
    return registry.reduce_results_list()


def test_agents_find_exports_sources_and_packages(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def treble(i): return 3 * i + shift\n")
    registry = make_study()
    registry.source = "helpers.py"
    registry.packages = ["colorsys"]
    registry.batch_export({"shift": 100, "table": np.arange(5)})

    def fun(i: int) -> tuple[int, int, bool]:
        import sys  # noqa: PLC0415 - as a job does

        return treble(i), int(table[i]), "colorsys" in sys.modules  # type: ignore[name-defined]  # noqa: F821 - a source's and an export's

    registry.batch_map(fun, i=[1, 2])

    assert finish(registry) == [(103, 1, True), (106, 2, True)]


def test_what_cannot_be_provided_is_the_jobs_error_until_it_can(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    registry = make_study()
    registry.source = ["late.py"]
    registry.batch_map(lambda i: late(i) + 0, i=[1, 2])  # type: ignore[name-defined]  # noqa: F821 - of a source
    registry.submit_jobs()
    registry.wait_for_jobs(timeout=WAIT, progress=False)

    messages = registry.get_error_messages()["message"]
    assert registry.find_error() == [1, 2]
    assert messages.str.contains("late.py could not be read").all()

    (tmp_path / "late.py").write_text("def late(i): return -i\n")
    registry.submit_jobs([1, 2])
    registry.wait_for_jobs(timeout=WAIT, progress=False)
    assert registry.reduce_results_list() == [-1, -2]


def test_native_libraries_use_the_threads_asked_for(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "import os\nos.environ['OPENBLAS_NUM_THREADS'] = '2'\nimport numpy\n"
    )

    def threads(i: int) -> list[Any]:
        import os  # noqa: PLC0415 - as a job does

        import numpy as np  # noqa: PLC0415 - as above
        from threadpoolctl import threadpool_info  # noqa: PLC0415 - as above

        np.ones((i, i)) @ np.ones((i, i))
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        return [os.environ["OMP_NUM_THREADS"], *blas]

    registry = make_study()
    registry.batch_map(threads, i=[5])
    assert finish(registry) == [["1", 1]]
    assert finish_again(registry, omp_threads=2, blas_threads=2) == [["2", 2]]
    registry.source = ["greedy.py"]
    assert finish_again(registry) == [["1", 1]]


def finish_again(registry: bp.Registry, **resources: Any) -> list[Any]:
    registry.submit_jobs(registry.find_done(), resources)
    registry.wait_for_jobs(timeout=WAIT, progress=False)
    return registry.reduce_results_list()


@pytest.mark.parametrize("isolation", ["slot", "process"])
def test_the_peak_memory_of_each_job_is_measured(make_study: MakeStudy, isolation: str) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(lambda mb: len(bytearray(mb << 20)), mb=[1, 150, 2])
    finish(registry, isolation=isolation, measure_memory=True)
    small, large, after = registry.get_job_status()["mem_used"]

    assert 5 < small < 100
    assert 100 < large - small < 200
    assert after < 100


def test_no_more_jobs_run_at_once_than_allowed(
    make_study: MakeStudy, gate: Path, held: Held, until: Until
) -> None:
    def spell(i: int) -> tuple[float, float]:
        began = time.monotonic()
        held()
        time.sleep(0.05)
        return began, time.monotonic() + 0 * i

    registry = make_study(pool=bp.pools.Local(slots=1, min_agents=2, max_agents=2))
    registry.batch_map(spell, i=range(8))
    registry.submit_jobs(max_concurrent_jobs=1)
    until(lambda: len(control.agents(registry.paths)) == 2)
    gate.touch()
    registry.wait_for_jobs(timeout=WAIT, progress=False)

    spells = sorted(registry.reduce_results_list())
    assert registry.max_concurrent_jobs == 1
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spells))


def test_large_arrays_reach_the_agents_from_one_object(make_study: MakeStudy) -> None:
    array = np.arange(1_000_000)
    registry = make_study()
    registry.batch_map(lambda x, i: int(x[i]), x=[array], i=[3, 4, 5])

    assert finish(registry) == [3, 4, 5]
    large = [path for path in registry.paths.objects.iterdir() if path.stat().st_size > 1 << 20]
    assert len(large) == 1


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_cleared_registry_runs_another_map_and_a_removed_one_leaves_nothing(
    make_study: MakeStudy, until: Until
) -> None:
    registry = make_study()
    registry.batch_map(lambda i: i, i=[1, 2, 3])
    finish(registry)
    first = runtime_dir(registry.instance)
    registry.sweep()
    registry.clear()

    assert not first.exists()
    registry.batch_map(lambda k: k * k, k=[2, 3])
    assert finish(registry) == [4, 9]

    second, paths = runtime_dir(registry.instance), registry.paths
    left = processes_of(paths)
    registry.remove()
    assert left
    until(lambda: not any(map(lives, left)))
    assert not second.exists()
    assert not paths.root.exists()
