"""The pace is told from the ends that the registry keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from batchpilot.pace import recent_pace
from batchpilot.registry.base import make_files
from batchpilot.store.changing import ROW_DTYPE
from batchpilot.store.database import Database


NOW = 1_000_000.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    paths = make_files(tmp_path / "registry", seed=1, kind="map", work_dir=tmp_path)
    opened = Database(paths)
    with opened.write() as tx:
        tx.execute("add_segment", "a.results", "a")
    yield opened
    opened.close()


def pace_of(database: Database, *blocks: list[tuple[float, float]]) -> float | None:
    with database.write() as tx:
        for block in blocks:
            rows = np.zeros(len(block), ROW_DTYPE)
            rows["started"], rows["ended"] = np.array(block).T + NOW
            tx.execute("add_outcome", 1, rows.tobytes())
    with database.read() as tx:
        return recent_pace(tx, NOW)


def test_nothing_ended_is_no_pace(database: Database) -> None:
    assert pace_of(database) is None


def test_a_young_run_is_measured_from_its_first_job(database: Database) -> None:
    assert pace_of(database, [(-2.0, -1.5), (-1.5, -1.0)], [(-1.0, -0.5), (-0.5, 0.0)]) == 2.0


def test_a_long_run_is_measured_over_its_last_minute(database: Database) -> None:
    old = [(s - 1.0, float(s)) for s in range(-600, -60)]
    new = [(s / 2 - 1, s / 2) for s in range(-119, 1)]

    assert pace_of(database, old, new) == pytest.approx(2.0, rel=0.02)


def test_the_break_before_a_run_does_not_count(database: Database) -> None:
    old = [(-3000.0 + s, -2999.0 + s) for s in range(30)]
    new = [(-20.0 + s, -19.0 + s) for s in range(20)]

    assert pace_of(database, old, new) == 1.0


def test_few_long_jobs_are_measured_over_the_last_hour(database: Database) -> None:
    assert pace_of(database, [(-1200.0, -600.0), (-600.0, -61.0)]) == pytest.approx(2 / 1200)


def test_what_ended_long_ago_is_no_pace(database: Database) -> None:
    assert pace_of(database, [(-9000.0, -8000.0)]) is None
