"""The supervisor in an allocation: its successor, and when there is to be one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from batchpilot.errors import RegistryMissing
from batchpilot.seat import (
    Seat,
    read_seat,
)
from batchpilot.seated import PAUSES, Chain, has_unfinished, lead_of
from batchpilot_agent.errors import LaunchPostponed

from .conftest import Site


@dataclass
class Ending:
    """An allocation that comes to its end."""

    site: Site
    seat: Seat
    now: float = 0.0
    unfinished: bool = True

    def chain(self) -> Chain:
        """Return what submits its successor; it begins now."""
        return Chain(self.seat, self.site.seating, lambda: self.unfinished, lambda: self.now)

    @property
    def submitted(self) -> int:
        """Return how many successors were submitted."""
        return len(self.site.slurm.requests) - 1


@pytest.fixture
def ending(site: Site, seat: Seat) -> Ending:
    return Ending(site, seat)


def test_a_successor_is_submitted_once_well_before_the_walltime_ends(ending: Ending) -> None:
    chain = ending.chain()
    ending.now = 7200.0 - lead_of(7200.0) - 1
    chain.tick()
    assert ending.submitted == 0
    ending.now += 1
    chain.tick()
    chain.tick()

    assert ending.submitted == 1
    assert read_seat(ending.site.paths) == chain.successor


def test_the_lead_is_a_tenth_at_least_ten_minutes_at_most_half() -> None:
    assert [lead_of(t) for t in (90.0, 1200.0, 3600.0, 86400.0)] == [45.0, 600.0, 600.0, 8640.0]


def test_without_unfinished_jobs_there_is_no_successor_until_there_are(ending: Ending) -> None:
    chain = ending.chain()
    ending.now, ending.unfinished = 7000.0, False
    chain.tick()
    assert ending.submitted == 0
    ending.unfinished = True
    chain.tick()

    assert ending.submitted == 1


def test_a_refused_successor_is_tried_again_with_growing_pauses(
    ending: Ending, caplog: pytest.LogCaptureFixture
) -> None:
    chain = ending.chain()
    ending.site.slurm.trouble = LaunchPostponed("Socket timed out")
    ending.now = 7000.0
    for pause in (*PAUSES, PAUSES[-1]):
        before = ending.submitted
        chain.tick()
        ending.now += pause - 1
        chain.tick()
        assert ending.submitted == before + 1
        ending.now += 1
    assert read_seat(ending.site.paths) == ending.seat
    ending.site.slurm.trouble = None
    chain.tick()

    assert chain.successor is not None
    assert "again in 600 s: Socket timed out" in caplog.text


def test_a_registry_that_cannot_be_read_ends_no_supervisor(
    ending: Ending, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable() -> bool:
        raise RegistryMissing("it is gone")

    chain = Chain(ending.seat, ending.site.seating, unreadable, lambda: ending.now)
    ending.now = 7000.0
    chain.tick()

    assert ending.submitted == 0
    assert "it is gone" in caplog.text


def test_jobs_are_unfinished_from_their_submission_on(site: Site) -> None:
    site.registry.batch_map(abs, x=[-1, -2])
    assert not has_unfinished(site.paths)
    with site.registry.database.write() as tx:
        tx.execute("add_class", "c", b"")
        tx.execute("add_span", 1, "c", 1, 2, None, None)

    assert has_unfinished(site.paths)
