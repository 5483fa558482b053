"""Sessions on a host from which the coordinator has gone to its seat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchpilot.notices import BatchpilotWarning
from batchpilot.seat import (
    Seat,
)
from batchpilot.store.owner import read_owner, write_owner

from .conftest import Site


@pytest.mark.usefixtures("seat")
def test_sessions_of_before_ask_the_host_to_which_the_coordinator_has_gone(site: Site) -> None:
    site.registry.batch_map(abs, x=[-1, -2])
    assert site.registry.told_of_owner() == ""
    write_owner(site.paths, replace(read_owner(site.paths), host="node7"))

    site.registry._follow_seat()

    assert "node7 owns" in site.registry.told_of_owner()
    assert site.registry.get_status().defined == 2


def test_what_only_the_owner_can_do_is_done_here_where_the_owner_has_left(
    site: Site, seat: Seat
) -> None:
    site.registry.batch_map(abs, x=[-1, -2])
    write_owner(site.paths, replace(read_owner(site.paths), host="node7"))
    site.registry._follow_seat()
    assert site.registry._elsewhere is not None
    site.registry._elsewhere._still.limit = 0.2

    with pytest.warns(BatchpilotWarning, match="taken .* over from node7|no coordinator on node7"):
        site.registry.sweep()

    assert seat.job
    assert read_owner(site.paths).here
    assert site.registry.told_of_owner() == ""


def test_a_session_reads_on_here_until_a_copy_shows_what_it_knows(site: Site, seat: Seat) -> None:
    site.registry.database.back_up(1)
    site.registry.batch_map(abs, x=[-1, -2])
    older = site.paths.backup / "registry-1.db"
    others = [path for path in site.paths.backup.iterdir() if path != older]
    for path in others:
        path.unlink()
    owner = read_owner(site.paths)
    write_owner(site.paths, replace(owner, host="node7", pid=1, heartbeat=1.0))

    site.registry._follow_seat()

    assert seat.job
    assert site.registry.told_of_owner() == ""
    assert site.registry.get_status().defined == 2
    assert site.paths.looked.exists()
