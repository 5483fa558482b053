"""Who submits the seat of a coordinator, when, and when not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.core.coordinator.batch_site import MemoryLauncher

import batchpilot as bp
from batchpilot import control
from batchpilot.errors import BatchpilotError, CoordinatorFailed
from batchpilot.notices import BatchpilotWarning
from batchpilot.seat import (
    Look,
    Seat,
    read_look,
    read_seat,
    read_sitter,
    write_record,
)
from batchpilot.seating import ASK_EVERY, MOST_UNBEGUN, SUBMITTING, Seating
from batchpilot.store.owner import read_owner, write_owner
from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.keeping import keep_submitted
from batchpilot_agent.launchers.nouns import AllocationRequest, Submitted
from batchpilot_broker.paths import RegistryPaths

from .conftest import CANCELLED, FAILED, Site


def vanish(site: Site, seat: Seat) -> None:
    """Have the batch system forget an allocation, and be asked about it once."""
    site.paths.allocation(seat.allocation).mkdir(exist_ok=True)
    del site.slurm.status[seat.job]
    site.seating.see_to()
    site.now += ASK_EVERY


@dataclass
class GivenUp(MemoryLauncher):
    """A batch system at which a submission takes until the user has given the seat up."""

    paths: RegistryPaths = field(kw_only=True)

    def submit(self, request: AllocationRequest) -> Submitted:
        """Take a request."""
        self.paths.seat.unlink()
        return super().submit(request)


def test_one_element_with_one_core_is_submitted_as_the_pools_agents_are(site: Site) -> None:
    taken = site.seating.take("slurm")

    request = site.request
    assert (request.agents, request.ncpus, request.gpus, request.memory) == (1, 1, 0, 4000.0)
    assert (request.walltime, request.setup) == (7200.0, ("module load x",))
    assert request.variables == {"partition": "main"}
    assert request.command[1:6] == (
        *("-P", "-m", "batchpilot.seated"),
        *(str(site.paths.root), taken.allocation),
    )
    assert str(Path(control.__file__).parents[1]) in request.env["PYTHONPATH"].split(":")
    assert read_seat(site.paths) == taken
    assert taken.job == "1_1"


def test_its_walltime_is_that_asked_for_else_the_pools_else_a_day(site: Site) -> None:
    assert site.seating.take("slurm", 600.0).walltime == 600.0
    site.paths.seat.unlink()
    site.registry.pools = bp.pools.Slurm()

    assert site.seating.take("slurm").walltime == 86400.0


def test_pools_without_a_batch_system_have_no_seats(site: Site) -> None:
    for name in ("local", "nosuch"):
        with pytest.raises(BatchpilotError, match=f"no pool '{name}' of a batch system"):
            site.seating.take(name)
    assert not site.paths.seat.exists()


def test_a_second_seat_is_refused_until_the_first_has_ended(site: Site, seat: Seat) -> None:
    with pytest.raises(CoordinatorFailed, match=f"waits in the queue of slurm as {seat.job}"):
        site.seating.take("slurm")
    site.sit(seat, left="nothing was left to do")

    assert site.seating.take("slurm").allocation != seat.allocation


def test_what_the_batch_system_refuses_leaves_the_seat_as_it_was(site: Site) -> None:
    site.slurm.trouble = LaunchRefused("invalid partition")

    with pytest.raises(LaunchRefused, match="invalid partition"):
        site.seating.take("slurm")

    assert read_seat(site.paths) is None


def test_the_batch_system_is_asked_once_a_minute_whoever_wonders(site: Site, seat: Seat) -> None:
    for _ in range(3):
        site.seating.see_to()
    assert len(site.slurm.queries) == 1
    site.now += ASK_EVERY
    site.seating.see_to()

    assert len(site.slurm.queries) == 2
    assert len(site.slurm.requests) == 1
    assert read_look(site.paths, seat.allocation) == Look(
        time=site.now, ended=False, reason="PENDING Resources"
    )


def test_while_a_coordinator_beats_nobody_is_asked(site: Site, seat: Seat) -> None:
    owner = replace(read_owner(site.paths), host="node7", pid=1, heartbeat=site.now)
    write_owner(site.paths, owner)
    site.slurm.status[seat.job] = CANCELLED

    site.seating.see_to()

    assert site.slurm.queries == []
    assert len(site.slurm.requests) == 1


def test_one_that_was_cancelled_or_has_left_is_followed_by_another(site: Site, seat: Seat) -> None:
    site.slurm.status[seat.job] = CANCELLED
    site.seating.see_to()
    second = read_seat(site.paths)
    assert second is not None
    site.sit(second, left="told to leave")
    site.seating.see_to()

    assert [request.id for request in site.slurm.requests[:2]] == [
        seat.allocation,
        second.allocation,
    ]
    assert len(site.slurm.requests) == 3
    assert len(site.slurm.queries) == 1  # one that has said so needs no asking
    assert {request.walltime for request in site.slurm.requests} == {7200.0}


def test_one_that_failed_is_told_with_its_last_words_and_not_tried_again(
    site: Site, seat: Seat
) -> None:
    site.slurm.status[seat.job] = FAILED
    site.paths.element_output(seat.allocation, 1).write_text("env\nno module named batchpilot\n\n")

    for _ in range(2):
        with pytest.raises(CoordinatorFailed, match=r"NonZeroExitCode: no module named") as told:
            site.seating.see_to()
    assert "coordinator submit" in told.value.remedy
    site.sit(seat, left="no broker starts", failed=True)
    with pytest.raises(CoordinatorFailed, match="no broker starts"):
        site.seating.see_to()

    assert len(site.slurm.requests) == 1


def test_one_that_vanished_has_ended_at_the_second_look(site: Site, seat: Seat) -> None:
    site.sit(seat)
    del site.slurm.status[seat.job]

    site.seating.see_to()
    assert len(site.slurm.requests) == 1
    site.now += ASK_EVERY
    site.seating.see_to()

    assert len(site.slurm.requests) == 2


def test_one_that_vanished_after_its_begin_has_failed(site: Site, seat: Seat) -> None:
    site.paths.element_output(seat.allocation, 1).write_text("no module named batchpilot\n")
    vanish(site, seat)

    with pytest.raises(CoordinatorFailed, match=r"of slurm: no module named batchpilot;"):
        site.seating.see_to()

    assert len(site.slurm.requests) == 1


def test_one_that_vanished_in_the_queue_was_cancelled_there_twice_at_most(
    site: Site, seat: Seat
) -> None:
    for submitted in range(1, MOST_UNBEGUN):
        vanish(site, seat)
        site.seating.see_to()
        assert len(site.slurm.requests) == submitted + 1
        seat = read_seat(site.paths) or seat
    vanish(site, seat)
    with pytest.raises(CoordinatorFailed, match="3 in a row have ended before they began"):
        site.seating.see_to()
    assert len(site.slurm.requests) == MOST_UNBEGUN

    again = site.seating.take("slurm")

    assert again.unbegun == 0


def test_one_that_has_begun_ends_the_row_of_those_that_have_not(site: Site, seat: Seat) -> None:
    vanish(site, seat)
    site.seating.see_to()
    second = read_seat(site.paths)
    assert second is not None
    assert second.unbegun == 1
    site.sit(second, left="told to leave")
    site.seating.see_to()
    third = read_seat(site.paths)

    assert third is not None
    assert third.unbegun == 0


def test_one_whose_submission_nobody_knows_the_end_of_has_ended_after_a_while(site: Site) -> None:
    lost = Seat(pool="slurm", kind="Slurm", allocation="x", walltime=600.0, submitted=site.now)
    write_record(site.paths.seat, lost)

    site.seating.see_to()
    assert site.slurm.requests == []
    site.now += SUBMITTING + 1
    site.slurm.trouble = LaunchPostponed("Socket timed out")
    site.seating.see_to()
    site.slurm.trouble = None
    site.now += ASK_EVERY
    site.seating.see_to()

    assert len(site.slurm.requests) == 2


def test_a_batch_system_that_takes_none_now_is_asked_again_in_a_minute(
    site: Site, seat: Seat
) -> None:
    site.sit(seat, left="told to leave")
    site.slurm.trouble = LaunchPostponed("Socket timed out")
    for _ in range(3):
        site.seating.see_to()
    assert len(site.slurm.requests) == 2
    site.slurm.trouble = None
    site.now += ASK_EVERY
    site.seating.see_to()

    assert len(site.slurm.requests) == 3


def test_one_that_never_will_take_it_is_told(site: Site, seat: Seat) -> None:
    site.sit(seat, left="told to leave")
    site.slurm.trouble = LaunchRefused("account expired")

    with pytest.raises(CoordinatorFailed, match="account expired"):
        site.seating.see_to()

    assert read_seat(site.paths) == seat


def test_a_seat_that_is_given_up_is_cancelled_also_where_that_fails(site: Site, seat: Seat) -> None:
    site.seating.give_up()
    assert site.slurm.cancelled == [seat.job]
    site.seating.take("slurm")
    for trouble in (LaunchPostponed("Socket timed out"), OSError("no more processes")):
        site.slurm.trouble = trouble
        with pytest.warns(BatchpilotWarning, match=f"leaves by itself: {trouble}"):
            site.seating.give_up()
        site.slurm.trouble = None
        assert read_seat(site.paths) is None
        site.seating.take("slurm")


def test_who_gives_a_seat_up_cancels_also_who_sits_there_before_and_waits_for_both(
    site: Site, seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_submitted(
        site.paths.allocation(seat.allocation), Submitted(ids=("1",), elements=(seat.job,))
    )
    site.sit(seat)
    successor = site.seating.succeed(seat)
    leaving = threading.Timer(0.2, site.sit, (seat,), {"left": "told to leave"})
    cancel = site.slurm.cancel

    def cancel_and_let_leave(ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        cancel(ids, elements)
        leaving.start()

    monkeypatch.setattr(site.slurm, "cancel", cancel_and_let_leave)

    site.seating.give_up()

    sitter = read_sitter(site.paths, seat.allocation)
    leaving.join()
    assert sitter is not None
    assert sitter.left == "told to leave"
    assert site.slurm.cancelled == [successor.job, seat.job]


@pytest.mark.parametrize("trouble", [None, LaunchRefused("invalid partition")])
def test_a_seat_that_is_given_up_while_it_is_submitted_stays_given_up(
    site: Site, seat: Seat, trouble: LaunchRefused | None
) -> None:
    given_up = GivenUp(paths=site.paths)
    seating = Seating(site.paths, launcher=lambda *_: given_up, clock=lambda: site.now)
    given_up.trouble = trouble
    with pytest.raises(LaunchRefused) if trouble else nullcontext():
        seating.succeed(seat)

    assert read_seat(site.paths) is None
    assert given_up.cancelled == ([] if trouble else ["1_1"])
    with pytest.raises(CoordinatorFailed, match="given up"):
        seating.succeed(seat)


def test_a_machine_that_starts_no_process_leaves_the_seat_as_it_was(site: Site, seat: Seat) -> None:
    site.slurm.status[seat.job] = CANCELLED
    site.seating.has_ended(seat)
    site.slurm.trouble = BlockingIOError(11, "no more processes")
    with pytest.raises(BlockingIOError):
        site.seating.take("slurm")
    assert read_seat(site.paths) == seat
    site.seating.see_to()
    site.slurm.trouble = None
    site.seating.see_to()
    assert len(site.slurm.requests) == 3  # not within a minute
    site.now += ASK_EVERY
    site.seating.see_to()

    assert len(site.slurm.requests) == 4


def test_stamps_to_come_of_a_host_whose_clock_is_wrong_count_for_nothing(
    site: Site, seat: Seat
) -> None:
    ahead = site.now + 3600
    owner = replace(read_owner(site.paths), host="node7", pid=1, heartbeat=ahead)
    write_owner(site.paths, owner)
    look = Look(time=ahead, ended=False, reason="PENDING", tried=ahead)
    write_record(site.paths.look(seat.allocation), look)
    site.slurm.status[seat.job] = CANCELLED
    site.seating.see_to()
    assert len(site.slurm.requests) == 2
    lost = Seat(pool="slurm", kind="Slurm", allocation="x", walltime=600.0, submitted=ahead)
    write_record(site.paths.seat, lost)
    site.seating.see_to()

    assert len(site.slurm.requests) == 3
