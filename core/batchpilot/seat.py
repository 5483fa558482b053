"""The seat: a coordinator's place in an allocation of a batch system, as files tell of it.

    seat.json                        which allocation is meant to have the office
    allocations/<id>/sitter.json     its supervisor has begun there, and has left
    allocations/<id>/look.json       what the batch system said of it when it was last asked

Each file has one kind of writer, so that no lock between hosts is needed: whoever submits, the
supervisor in the allocation, whoever asks. A supervisor that the seat does not name leaves: as soon
as the one that is named has begun, or at once where there is no seat any more or where it was not
in office yet. So of several that were submitted at once, one stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from batchpilot_broker.errors import StorageError
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.shapes import NUMBER, Types, check


_log = logging.getLogger("batchpilot.seat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Hold which allocation is meant to have the office.

    Attributes:
        pool: Pool through which it was submitted.
        kind: Class of that pool.
        allocation: Our name of it.
        walltime: Seconds that were asked for.
        submitted: Unix time of the submission.
        job: What the batch system calls it, "" until it has answered.
        after: The allocation before it, "" for none: that one leaves when this one has begun.
        unbegun: How many allocations in a row before it have ended without having begun.
    """

    pool: str
    kind: str
    allocation: str
    walltime: float
    submitted: float
    job: str = ""
    after: str = ""
    unbegun: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitter:
    """Hold what the supervisor in an allocation says of itself.

    Attributes:
        host: Where it runs.
        pid: Its process there.
        began: Unix time at which it began.
        left: Why it has left, "" while it is there.
        failed: Whether it has left because something is wrong there.
    """

    host: str
    pid: int
    began: float
    left: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Hold what the batch system said of an allocation.

    Attributes:
        time: Unix time at which it was asked.
        ended: Whether it has certainly ended.
        reason: Why, in the batch system's words.
        known: Whether the batch system knows it.
        failed: Whether it ended as nothing should.
        tried: Unix time at which another one was last asked for in vain.
    """

    time: float
    ended: bool
    reason: str
    known: bool = True
    failed: bool = False
    tried: float = 0.0


Record = TypeVar("Record", Seat, Sitter, Look)

_TYPES: Types = {"str": str, "int": int, "float": NUMBER, "bool": bool}


def read_seat(paths: RegistryPaths) -> Seat | None:
    """Return the registry's seat; None where the coordinator runs where sessions start it.

    Raises:
        StorageError: The record cannot be read.
    """
    return _read(Seat, paths.seat)


def read_sitter(paths: RegistryPaths, allocation: str) -> Sitter | None:
    """Return what is said by the supervisor in an allocation, None before it has begun."""
    return _read(Sitter, paths.sitter(allocation))


def read_look(paths: RegistryPaths, allocation: str) -> Look | None:
    """Return what the batch system last said of an allocation, None before it was asked."""
    return _read(Look, paths.look(allocation))


def write_record(path: Path, record: Seat | Sitter | Look) -> None:
    """Write one of the records, whole or not at all."""
    write_json(path, asdict(record))


def _read(kind: type[Record], path: Path) -> Record | None:
    record = read_json(path)
    if record is None:
        return None
    types = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    known = {name: record[name] for name in types if name in record}
    try:
        check(known, types)
        return kind(**known)
    except TypeError as error:
        raise StorageError(f"{path} is damaged: {error}", remedy=f"delete it: rm {path}") from error


def relief(paths: RegistryPaths, mine: str = "") -> Callable[[], bool]:
    """Return what tells supervisor and coordinator whether others are to take their place now.

    Args:
        paths: The registry's files.
        mine: Allocation in which they run themselves, "" for those that a session has started.
    """

    def relieved() -> bool:
        try:
            return _is_relieved(paths, mine)
        except StorageError as error:  # of a damaged record: they go on
            _log.error("%s", error)
            return False

    return relieved


def _is_relieved(paths: RegistryPaths, mine: str) -> bool:
    seat = read_seat(paths)
    if seat is None:
        return bool(mine)  # nobody is to run at the batch system any more
    if seat.allocation == mine:
        return False
    sitter = read_sitter(paths, seat.allocation)
    return sitter is not None and not sitter.left


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Hold where a seat stands.

    Attributes:
        text: It in words, to follow "the coordinator".
        ended: Whether its allocation has ended, as far as is known.
    """

    text: str
    ended: bool


def standing(paths: RegistryPaths) -> Standing | None:
    """Return where the seat of a registry stands, from files alone; None where it has none."""
    seat = read_seat(paths)
    if seat is None:
        return None
    name = f"{seat.pool} as {seat.job}" if seat.job else seat.pool
    sitter, look = read_sitter(paths, seat.allocation), read_look(paths, seat.allocation)
    why = sitter.left if sitter is not None else look.reason if look is not None else ""
    if (sitter is not None and sitter.left) or (look is not None and look.ended):
        why = why or (look.reason if look else "")
        return Standing(text=f"had its seat at {name}, which has ended ({why})", ended=True)
    if sitter is not None:
        return Standing(text=f"has its seat at {name} on {sitter.host}", ended=False)
    asked = f" ({why})" if why else ""
    return Standing(text=f"waits in the queue of {name}{asked}", ended=False)
