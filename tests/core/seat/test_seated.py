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
from batchpilot.seating import ASK_EVERY
from batchpilot_agent.errors import LaunchPostponed

from .conftest import CANCELLED, Site


@dataclass
class Ending:
    """An allocation that comes to its end."""

    site: Site
    seat: Seat
    now: float = 0.0
    unfinished: bool = True

    def chain(self, age: float = 0.0) -> Chain:
        """Return what submits its successor; its job script began so many seconds ago."""
        return Chain(
            self.seat, self.site.seating, lambda: self.unfinished, lambda: self.now, age=age
        )

    def succeeded(self) -> tuple[Chain, Seat]:
        """Return the same when it has submitted a successor, and that."""
        chain = self.chain()
        self.now = 7000.0
        chain.tick()
        assert chain.successor is not None
        self.site.paths.allocation(chain.successor.allocation).mkdir()
        return chain, chain.successor

    def pass_by(self, chain: Chain, seconds: float) -> None:
        """Let time pass for the chain and for the batch system."""
        self.now += seconds
        self.site.now += seconds
        chain.tick()

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


def test_the_time_before_the_supervisor_began_is_of_the_walltime(ending: Ending) -> None:
    late = ending.chain(age=7200.0 - lead_of(7200.0) - 1)
    late.tick()
    assert ending.submitted == 0
    ending.now += 1
    late.tick()

    assert ending.submitted == 1


def test_a_successor_is_looked_at_once_a_minute(ending: Ending) -> None:
    chain, successor = ending.succeeded()
    for _ in range(9):
        ending.pass_by(chain, ASK_EVERY / 3)

    assert ending.site.slurm.queries == [[successor.job]] * 3
    assert ending.submitted == 1


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_successor_that_does_not_take_over_has_a_successor_after_growing_pauses(
    ending: Ending, cancelled: bool
) -> None:
    chain, successor = ending.succeeded()
    for pause in PAUSES[:2]:
        if cancelled:
            ending.site.slurm.status[successor.job] = CANCELLED
        else:
            ending.site.sit(successor, left="no broker starts", failed=True)
        ending.pass_by(chain, ASK_EVERY)
        assert read_seat(ending.site.paths) == ending.seat
        before = ending.submitted
        ending.pass_by(chain, pause - 1)
        assert ending.submitted == before
        ending.pass_by(chain, 1)
        assert ending.submitted == before + 1
        assert chain.successor is not None
        successor = chain.successor
        ending.site.paths.allocation(successor.allocation).mkdir()

    assert read_seat(ending.site.paths) == successor
    assert successor.after == ending.seat.allocation


def test_a_successor_is_cancelled_where_no_jobs_are_left_for_it(ending: Ending) -> None:
    chain, successor = ending.succeeded()
    chain.withdraw()
    assert ending.site.slurm.cancelled == []
    ending.unfinished = False
    chain.withdraw()

    assert ending.site.slurm.cancelled == [successor.job]
    assert read_seat(ending.site.paths) == ending.seat


def test_a_successor_that_is_not_the_seats_any_more_is_left_alone(ending: Ending) -> None:
    chain, _ = ending.succeeded()
    ending.unfinished = False
    ending.site.paths.seat.unlink()
    chain.withdraw()

    assert ending.site.slurm.cancelled == []
    assert read_seat(ending.site.paths) is None


def test_without_unfinished_jobs_there_is_no_successor_until_there_are(ending: Ending) -> None:
    chain = ending.chain()
    ending.now, ending.unfinished = 7000.0, False
    chain.tick()
    assert ending.submitted == 0
    ending.unfinished = True
    chain.tick()

    assert ending.submitted == 1


@pytest.mark.parametrize(
    "trouble", [LaunchPostponed("Socket timed out"), OSError("Socket timed out")]
)
def test_a_refused_successor_is_tried_again_with_growing_pauses(
    ending: Ending, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    chain = ending.chain()
    ending.site.slurm.trouble = trouble
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
