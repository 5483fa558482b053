"""See to the seat: submit the allocation in which supervisor, broker and coordinator run.

It is submitted through the launcher of one of the registry's pools, as an agent would be, but for
what it runs: `python -m batchpilot.seated`. Sessions submit another one where it has ended while
there is something to do, the supervisor in it where its walltime is about to end. The batch system
is asked about it at most once a minute, and not at all while a coordinator is in office.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from batchpilot_agent.errors import LaunchError, LaunchPostponed
from batchpilot_agent.launchers.keeping import make_place, read_submitted
from batchpilot_agent.launchers.nouns import (
    AllocationRequest,
    ElementState,
    ElementStatus,
    Launcher,
)
from batchpilot_broker.paths import RegistryPaths

from .errors import BatchpilotError, CoordinatorFailed
from .monitoring import words_of
from .notices import warn
from .pools import BatchPool, from_records
from .requesting import launcher_of, new_allocation, request_of
from .seat import Look, Seat, read_look, read_seat, read_sitter, standing, write_record
from .store.allocations import variables_key
from .store.locks import locked
from .store.owner import SILENT_AFTER, read_owner
from .store.snapshots import reading
from .surroundings import python_path


WALLTIME = 86400.0
MOST_MEMORY = 4000.0
"""MB for broker and coordinator, where agents of the pool ask for so much or more."""

ASK_EVERY = 60.0
MOST_UNBEGUN = 3
"""Allocations in a row that end without having begun, after which no other one is submitted."""

SUBMITTING = 120.0
"""Seconds after which a submission that nobody knows the outcome of has failed."""

LEAVE_SECONDS = 30.0
PAUSE = 0.1

TROUBLE = (BatchpilotError, OSError, LookupError, ValueError)
"""What asking a batch system may raise: no process or file can be made, no answer be read."""


class Seating:
    """Submit, look at and give up the seat of a registry.

    Args:
        paths: The registry's files.
        launcher: Gives the launcher of a kind of pool.
        clock: Gives the Unix time.
    """

    def __init__(
        self,
        paths: RegistryPaths,
        *,
        launcher: Callable[[str, RegistryPaths], Launcher] = launcher_of,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._paths = paths
        self._launcher = launcher
        self._clock = clock

    def take(self, pool: str, walltime: float | None = None) -> Seat:
        """Give the coordinator a seat, and submit its allocation.

        Args:
            pool: Pool of a batch system, one of the registry's.
            walltime: Seconds, by default those of the pool's agents, or a day.

        Raises:
            CoordinatorFailed: It has one that has not ended.
            LaunchError: The batch system refuses.
        """
        chosen = self._pool(pool)
        with locked(self._paths.allocations, alone=True):
            before = read_seat(self._paths)
            if before is not None and not self.has_ended(before):
                raise CoordinatorFailed(
                    f"the coordinator of {self._paths.root} {self._stands()} already",
                    remedy="batchpilot coordinator stop",
                )
            seat = self._seat(chosen, walltime or chosen.walltime or WALLTIME)
            return self._submit(chosen, seat, before)

    def see_to(self) -> None:
        """See that a coordinator is in office, or that its allocation has not ended.

        Raises:
            CoordinatorFailed: Something is wrong there, or another one is refused for good.
        """
        if not self._is_needed():
            return
        with locked(self._paths.allocations, alone=True):
            seat = read_seat(self._paths)
            if seat is None or not self._is_needed() or not self.has_ended(seat):
                return
            self._fill_again(seat)

    def succeed(self, seat: Seat) -> Seat:
        """Submit the successor of an allocation whose walltime is about to end.

        Raises:
            BatchpilotError: There is no such pool any more, or it cannot be submitted; the seat is
                as before.
            CoordinatorFailed: The seat was given up.
        """
        with locked(self._paths.allocations, alone=True):
            if read_seat(self._paths) is None:
                raise CoordinatorFailed("the seat was given up", remedy="nothing is to be done")
            pool = self._pool(seat.pool)
            successor = replace(self._seat(pool, seat.walltime), after=seat.allocation)
            return self._submit(pool, successor, seat)

    def withdraw(self, successor: Seat, seat: Seat) -> None:
        """Cancel the successor of an allocation, which has the seat again."""
        with locked(self._paths.allocations, alone=True):
            if read_seat(self._paths) == successor:
                write_record(self._paths.seat, seat)
                self._cancel([successor])

    def give_up(self, timeout: float = LEAVE_SECONDS) -> None:
        """Cancel the seat's allocations, and let sessions start the coordinator from now on.

        Args:
            timeout: Seconds to wait for those who sit there.
        """
        with locked(self._paths.allocations, alone=True):
            seat = read_seat(self._paths)
            if seat is None:
                return
            self._paths.seat.unlink()  # alone makes them leave, where a cancel fails
        before = replace(seat, allocation=seat.after, job="") if seat.after else None
        seats = [seat, before] if before is not None and self._is_there(before) else [seat]
        self._cancel(seats)
        deadline = time.monotonic() + timeout
        while any(map(self._is_there, seats)) and time.monotonic() < deadline:
            time.sleep(PAUSE)

    def has_ended(self, seat: Seat) -> bool:
        """Tell whether an allocation has certainly ended; ask where that is not known."""
        sitter = read_sitter(self._paths, seat.allocation)
        if sitter is not None and sitter.left:
            return True
        job = self._job_of(seat)
        if not job:
            return not self._is_recent(seat.submitted, SUBMITTING)
        last = read_look(self._paths, seat.allocation)
        if last is None or not (last.ended or self._is_recent(last.time, ASK_EVERY)):
            last = self._ask(seat, job, last)
        return last.ended

    def _cancel(self, seats: list[Seat]) -> None:
        jobs = [job for job in map(self._job_of, seats) if job]
        if not jobs:
            return
        try:
            self._launcher(seats[0].kind, self._paths).cancel([], jobs)
        except TROUBLE as error:
            which = " and ".join(jobs)
            warn(f"{seats[0].pool} has not cancelled {which}, which leaves by itself: {error}")

    def _is_there(self, seat: Seat) -> bool:
        sitter = read_sitter(self._paths, seat.allocation)
        return sitter is not None and not sitter.left

    def _has_begun(self, seat: Seat) -> bool:
        output = self._paths.element_output(seat.allocation, 1)
        return output.exists() or read_sitter(self._paths, seat.allocation) is not None

    def _is_recent(self, moment: float, seconds: float) -> bool:
        """Tell whether a moment is not long ago; one to come is of a host whose clock is wrong."""
        return abs(self._clock() - moment) < seconds

    def _is_needed(self) -> bool:
        owner = read_owner(self._paths)
        beats = owner.beats_elsewhere(self._clock())
        beats = beats and self._is_recent(owner.heartbeat, SILENT_AFTER)
        return not (owner.coordinator_alive or beats)

    def _stands(self) -> str:
        now = standing(self._paths)
        return "" if now is None else now.text

    def _job_of(self, seat: Seat) -> str:
        """Return what the batch system calls it, also where whoever submitted it died over that."""
        if seat.job:
            return seat.job
        submitted = read_submitted(self._paths.allocation(seat.allocation))
        return submitted.elements[0] if submitted is not None and submitted.elements else ""

    def _ask(self, seat: Seat, job: str, last: Look | None) -> Look:
        """Ask the batch system; what it does not know twice has ended."""
        try:
            status = self._launcher(seat.kind, self._paths).states([job])[job]
        except TROUBLE as error:
            status = ElementStatus(state=ElementState.UNKNOWN, reason=str(error))
        vanished = not status.known and last is not None and not last.known
        look = Look(
            time=self._clock(),
            ended=status.state is ElementState.ENDED or vanished,
            reason=status.reason,
            known=status.known,
            failed=status.failed or (vanished and self._has_begun(seat)),
        )
        write_record(self._paths.look(seat.allocation), look)
        return look

    def _fill_again(self, seat: Seat) -> None:
        """Submit another allocation; what was refused for now is tried again in a minute."""
        last = read_look(self._paths, seat.allocation)
        self._check_failure(seat, last)
        if last is not None and self._is_recent(last.tried, ASK_EVERY):
            return
        pool, unbegun = self._pool(seat.pool), 0 if self._has_begun(seat) else seat.unbegun + 1
        try:
            self._submit(pool, replace(self._seat(pool, seat.walltime), unbegun=unbegun), seat)
        except (LaunchPostponed, OSError) as error:
            now = self._clock()
            look = Look(time=now, ended=True, reason=_words_of(error), tried=now)
            make_place(self._paths.allocation(seat.allocation))  # none, if its submission was lost
            write_record(self._paths.look(seat.allocation), look)
        except LaunchError as error:
            raise CoordinatorFailed(
                f"{seat.pool} does not take the coordinator's allocation: {error.message}",
                remedy="mend the pool, or `batchpilot coordinator stop` to do without",
            ) from error

    def _check_failure(self, seat: Seat, last: Look | None) -> None:
        """Say what went wrong in an allocation: in another one it would, too."""
        sitter = read_sitter(self._paths, seat.allocation)
        output = self._paths.element_output(seat.allocation, 1)
        reason = last.reason if last is not None else ""
        why = ""
        if sitter is not None:
            why = sitter.left if sitter.failed else ""
        elif last is not None and last.failed:
            why = ": ".join(filter(None, (reason, _last_line(output))))
        elif not output.exists() and seat.unbegun + 1 >= MOST_UNBEGUN:
            ended = f"{MOST_UNBEGUN} in a row have ended before they began"
            why = ": ".join(filter(None, (ended, reason)))
        if why:
            place = output if output.exists() else output.parent
            raise CoordinatorFailed(
                f"the coordinator failed in {seat.job or seat.allocation} of {seat.pool}: {why}",
                remedy=f"see {place}; mend that, then run `batchpilot coordinator submit` again",
            )

    def _seat(self, pool: BatchPool, walltime: float) -> Seat:
        return Seat(
            pool=pool.name,
            kind=type(pool).__name__,
            allocation=new_allocation(),
            walltime=walltime,
            submitted=self._clock(),
        )

    def _submit(self, pool: BatchPool, seat: Seat, before: Seat | None) -> Seat:
        """Name an allocation, so that it may begin at once, and submit it."""
        request = seat_request(pool, self._paths, seat, self._log_format())
        write_record(self._paths.seat, seat)
        try:
            submitted = self._launcher(seat.kind, self._paths).submit(request)
        except BaseException:
            self._put_back(seat, before)
            raise
        named = replace(seat, job=submitted.elements[0])
        if read_seat(self._paths) == seat:
            write_record(self._paths.seat, named)
        else:
            self._cancel([named])  # somebody has given the seat up meanwhile
        return named

    def _put_back(self, seat: Seat, before: Seat | None) -> None:
        if read_seat(self._paths) != seat:  # somebody has given it up meanwhile
            return
        if before is None:
            self._paths.seat.unlink(missing_ok=True)
        else:
            write_record(self._paths.seat, before)

    def _pool(self, name: str) -> BatchPool:
        for pool in from_records(json.loads(self._setting("pools") or "[]")):
            if isinstance(pool, BatchPool) and pool.name == name:
                return pool
        raise BatchpilotError(
            f"{self._paths.root} has no pool {name!r} of a batch system",
            remedy="assign one to reg.pools first, such as bp.pools.Slurm()",
        )

    def _log_format(self) -> str | None:
        kept = self._setting("log_format")
        return str(json.loads(kept)) if kept else None

    def _setting(self, name: str) -> str | None:
        database = reading(self._paths)
        try:
            with database.read() as tx:
                stored: str | None = tx.meta(name)
                return stored
        finally:
            database.close()


def _words_of(error: LaunchError | OSError) -> str:
    return error.message if isinstance(error, LaunchError) else str(error)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it has said nothing")


def seat_request(
    pool: BatchPool, paths: RegistryPaths, seat: Seat, log_format: str | None
) -> AllocationRequest:
    """Return the request for a seat: what an agent of the pool gets, but one core, no device.

    Args:
        pool: The pool.
        paths: The registry.
        seat: The seat.
        log_format: How logs are written, None for the default.
    """
    as_agent = request_of(
        pool,
        paths,
        seat.allocation,
        1,
        variables_key(pool.variables),
        log_format=str(log_format),
    )
    command = [pool.python or sys.executable, "-P", "-m", "batchpilot.seated"]
    command += [str(paths.root.absolute()), seat.allocation]
    return replace(
        as_agent,
        command=(*command, *words_of({"log_format": log_format})),
        ncpus=1,
        memory=min(pool.memory, MOST_MEMORY),
        gpus=0,
        walltime=seat.walltime,
        env=dict(as_agent.env) if pool.python else _with_ours(as_agent.env),
    )


def _with_ours(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which core is found, which agents need not."""
    return {**env, "PYTHONPATH": python_path(env.get("PYTHONPATH", ""))}
