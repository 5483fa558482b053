"""Further tries: the submissions that are made of one whose jobs failed and may try again.

No job counts its tries: it moves to a submission derived from its own, which allows one try less,
and asks for twice as much of what it had too little of. All jobs that fail in the same way share
the derived one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from batchpilot.classes import class_id, grown, pack
from batchpilot_broker.nouns import Outcome, Reason, ResourceClass

from .database import Transaction


class Failure(StrEnum):
    """How a job fails that may be tried again."""

    ERROR = "error"
    MEMORY = "memory"
    WALLTIME = "walltime"


@dataclass(frozen=True, slots=True)
class Try:
    """Hold the submission under which jobs try again, and its class."""

    submission: int
    class_id: str


_FAILURES = tuple(Failure)
_NONE = len(_FAILURES)


def failures_of(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    """Return how each job failed, as its place in `Failure`; 3 where no retry can answer it."""
    expired = rows["outcome"] == Outcome.EXPIRED
    conditions = [
        rows["outcome"] == Outcome.ERROR,
        expired & (rows["reason"] == Reason.MEMORY),
        expired & (rows["reason"] == Reason.WALLTIME),
    ]
    return np.select(conditions, range(_NONE), _NONE).astype("u1")


def next_try(tx: Transaction, submission: int, failure: Failure) -> Try | None:
    """Return the submission that tries again what failed, made if needed; None: no try is left."""
    row = tx.execute("read_submission", submission).fetchone()
    left = msgpack.unpackb(row[5]) if row and row[5] else {}
    if not left.get(failure):
        return None
    known = tx.execute("next_try", submission, failure).fetchone()
    return Try(*known) if known else _derive(tx, submission, row, left, failure)


def fewer(left: Mapping[str, int], failure: Failure) -> dict[str, int]:
    """Return the tries that are left when one is taken.

    Example:
        >>> fewer({"error": 1, "memory": 2}, Failure.MEMORY)
        {'error': 1, 'memory': 1}
    """
    return {name: n - (name == failure) for name, n in left.items() if n - (name == failure)}


def _derive(
    tx: Transaction, parent: int, row: tuple[Any, ...], left: Mapping[str, int], failure: Failure
) -> Try:
    submitted, class_name, epoch, shown, priority, _, _ = row
    if failure is not Failure.ERROR:
        resources = msgpack.unpackb(shown)
        shown = pack({**resources, failure.value: 2 * resources[failure]})
        wire = msgpack.unpackb(tx.execute("read_class", class_name).fetchone()[0])
        needed = grown(ResourceClass.from_wire(wire), failure)
        class_name = class_id(needed)
        tx.execute("add_class", class_name, msgpack.packb(needed.to_wire()))
    fields = (submitted, class_name, epoch, shown, priority, pack(fewer(left, failure)))
    number = tx.execute("add_try", *fields, parent, failure).lastrowid
    return Try(int(number or 0), class_name)


def tries_of(tx: Transaction, submission: int) -> list[Failure]:
    """Return what a submission's jobs have failed of before, in that order."""
    failures: list[Failure] = []
    while row := tx.execute("tried_before", submission).fetchone():
        submission = row[0]
        failures.insert(0, Failure(row[1]))
    return failures
