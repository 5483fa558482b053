"""`bt_map`, reductions and maps over results with everything real behind them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, JobFailed
from batchpilot_broker.frames import Frame, Kind, scan

from .conftest import MakeStudy


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory that temporary registries are made in."""
    where = tmp_path / "temporary"
    where.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(where))
    monkeypatch.chdir(tmp_path)
    return where


def test_a_map_in_one_call_leaves_nothing_behind(temporary: Path, make_study: MakeStudy) -> None:
    del make_study  # ends what a failure would leave
    found = bp.bt_map(lambda x, y: x + y, range(20), more_args={"y": 1}, n_chunks=4)

    assert found == list(range(1, 21))
    assert not list(temporary.iterdir())


def test_a_map_in_two_chunks_hands_out_two_chunks(make_study: MakeStudy) -> None:
    study = make_study()
    found = bp.bt_map(lambda x: -x, range(8), n_chunks=2, reg=study)
    frames = [
        frame
        for path in study.paths.segments.glob("*.results")
        for frame in scan(path.read_bytes())
        if isinstance(frame, Frame) and frame.kind == Kind.CHUNK_STARTED
    ]

    assert found == [-x for x in range(8)]
    assert len(frames) == 2


def test_a_map_that_fails_keeps_its_registry_and_names_it(
    temporary: Path, make_study: MakeStudy
) -> None:
    with pytest.raises(JobFailed, match="job 3 failed: ZeroDivisionError") as caught:
        bp.bt_map(lambda x: 1 / x, [2, 1, 0])
    (kept,) = temporary.glob("registry-*")
    make_study.watch(kept)

    assert str(kept) in str(caught.value)
    with bp.load_registry(kept) as registry:
        assert registry.load_result(1) == 0.5


def test_a_map_that_is_refused_leaves_nothing_behind(temporary: Path) -> None:
    with pytest.raises(DefinitionError, match="has no parameter 'k'"):
        bp.bt_map(lambda x: x, x=[1], k=[2])
    with pytest.raises(bp.BatchpilotError, match="walltime"):
        bp.bt_map(lambda x: x, x=[1], resources={"walltime": -1})

    assert not list(temporary.iterdir())


def test_reductions_and_maps_over_results_run_at_agents(make_study: MakeStudy) -> None:
    first, second = make_study("first"), make_study("second")
    first.batch_reduce(
        lambda aggr, x, job: [*aggr, x * job.id], range(6), init=[], chunks=[1, 1, 1, 2, 2, 2]
    )
    first.submit_jobs()
    assert first.wait_for_jobs()
    second.batch_map_results(
        lambda block, power, job: (sum(x**power for x in block), dict(job.pars)),
        source=first,
        power=[2],
    )
    second.submit_jobs()
    assert second.wait_for_jobs()

    assert first.reduce_results_list() == [[0, 1, 2], [6, 8, 10]]
    assert second.reduce_results_list() == [
        (5, {"_id": 1, "power": 2}),
        (200, {"_id": 2, "power": 2}),
    ]


def test_agents_load_no_core_for_them(make_study: MakeStudy) -> None:
    def loaded(aggr: int, x: int) -> list[str]:
        import sys  # noqa: PLC0415 - the agent's modules, not the session's

        del aggr, x
        return sorted({name.partition(".")[0] for name in sys.modules})

    study = make_study()
    study.batch_reduce(loaded, [1], init=0)
    study.submit_jobs()
    assert study.wait_for_jobs()

    assert not {"batchpilot", "numpy", "pandas", "sqlite3", "rq"} & set(study.load_result(1))
