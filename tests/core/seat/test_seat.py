"""What the files of a seat tell: who leaves for whom, and where it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import batchpilot as bp
from batchpilot import control
from batchpilot.errors import StorageError
from batchpilot.notices import BatchpilotWarning
from batchpilot.seat import (
    Seat,
    read_seat,
    relief,
    standing,
)

from .conftest import Site


def test_a_supervisor_leaves_to_the_one_that_is_named_as_soon_as_that_has_begun(
    site: Site, seat: Seat
) -> None:
    local, first = relief(site.paths), relief(site.paths, seat.allocation)
    assert not local()
    assert not first()
    site.sit(seat)
    assert local()
    second = site.seating.succeed(seat)
    assert not first()
    site.sit(second)
    assert first()
    site.paths.seat.unlink()

    assert relief(site.paths, second.allocation)()
    assert not local()


def test_where_it_stands_is_told_from_files_alone(site: Site, seat: Seat) -> None:
    def told() -> str:
        found = standing(site.paths)
        assert found is not None
        return found.text

    assert told() == f"waits in the queue of slurm as {seat.job}"
    site.seating.see_to()
    assert told() == f"waits in the queue of slurm as {seat.job} (PENDING Resources)"
    site.sit(seat)
    assert told() == f"has its seat at slurm as {seat.job} on node7"
    site.sit(seat, left="told to leave")
    assert told() == f"had its seat at slurm as {seat.job}, which has ended (told to leave)"
    assert control.coordinator_status(site.paths)["seat"] == told()
    site.paths.seat.unlink()
    assert standing(site.paths) is None


def test_a_damaged_record_is_named(site: Site) -> None:
    site.paths.seat.write_text('{"pool": 3}')

    with pytest.raises(StorageError, match=r"seat\.json is damaged: pool"):
        read_seat(site.paths)


def test_a_copy_of_a_registry_has_no_seat(site: Site, seat: Seat, tmp_path: Path) -> None:
    shutil.copytree(site.paths.root, tmp_path / "copy")
    with pytest.warns(BatchpilotWarning, match="a copy"):
        bp.load_registry(tmp_path / "copy").close()

    assert not (tmp_path / "copy" / "seat.json").exists()
    assert read_seat(site.paths) == seat
