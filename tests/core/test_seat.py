"""The seat of a coordinator: who submits when, who leaves for whom, and what is told of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.core.coordinator.test_allocator import MemoryLauncher

import batchpilot as bp
from batchpilot import control
from batchpilot.errors import BatchpilotError, CoordinatorFailed, RegistryMissing, StorageError
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import Registry
from batchpilot.seat import (
    Look,
    Seat,
    Sitter,
    read_look,
    read_seat,
    relief,
    standing,
    write_record,
)
from batchpilot.seated import PAUSES, Chain, has_unfinished, lead_of
from batchpilot.seating import ASK_EVERY, SUBMITTING, Seating
from batchpilot.store.owner import read_owner, write_owner
from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.nouns import AllocationRequest, ElementState, ElementStatus
from batchpilot_broker.paths import RegistryPaths


CANCELLED = ElementStatus(state=ElementState.ENDED, reason="CANCELLED")
FAILED = ElementStatus(state=ElementState.ENDED, reason="FAILED NonZeroExitCode", failed=True)
PENDING = ElementStatus(state=ElementState.QUEUED, reason="PENDING Resources")


@dataclass
class Site:
    """A registry with a pool of a batch system in memory, and a clock."""

    registry: Registry
    slurm: MemoryLauncher = field(default_factory=MemoryLauncher)
    now: float = 1000.0

    @property
    def paths(self) -> RegistryPaths:
        """Return the registry's files."""
        return self.registry.paths

    @property
    def seating(self) -> Seating:
        """Return what sees to the seat; another one in every session."""
        return Seating(self.paths, launcher=lambda *_: self.slurm, clock=lambda: self.now)

    @property
    def request(self) -> AllocationRequest:
        """Return what was asked for last."""
        return self.slurm.requests[-1]

    def sit(self, seat: Seat, *, left: str = "", failed: bool = False) -> None:
        """Have the supervisor in an allocation begin, or leave."""
        self.paths.allocation(seat.allocation).mkdir(exist_ok=True)
        sitter = Sitter(host="node7", pid=1, began=self.now, left=left, failed=failed)
        write_record(self.paths.sitter(seat.allocation), sitter)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        resources = {"walltime": 7200, "memory": 16000, "partition": "main", "gpus": 1}
        registry.pools = [
            bp.pools.Local(slots=1),
            bp.pools.Slurm(slots=8, resources=resources, setup=["module load x"], throttle=3),
        ]
        yield Site(registry)


@pytest.fixture
def seat(site: Site) -> Seat:
    """Give a seat that waits in the queue."""
    taken = site.seating.take("slurm")
    site.paths.allocation(taken.allocation).mkdir()  # where a real launcher keeps the script
    site.slurm.status[taken.job] = PENDING
    return taken


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


def test_one_whose_submission_nobody_knows_the_end_of_has_ended_after_a_while(site: Site) -> None:
    lost = Seat(pool="slurm", kind="Slurm", allocation="x", walltime=600.0, submitted=site.now)
    write_record(site.paths.seat, lost)

    site.seating.see_to()
    assert site.slurm.requests == []
    site.now += SUBMITTING + 1
    site.seating.see_to()

    assert len(site.slurm.requests) == 1


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
    site.seating.give_up(seat)
    assert site.slurm.cancelled == [seat.job]
    second = site.seating.take("slurm")
    site.slurm.trouble = LaunchPostponed("Socket timed out")
    with pytest.warns(BatchpilotWarning, match="leaves by itself: Socket timed out"):
        site.seating.give_up(second)

    assert read_seat(site.paths) is None


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
