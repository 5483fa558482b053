"""What the segments say of attempts that were lost: how a slot died under a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgpack

from batchpilot_broker.nouns import Outcome, Reason
from batchpilot_broker.paths import RegistryPaths

from .database import Database
from .records import Records
from .replay import read_stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Hold how an attempt was lost.

    Attributes:
        attempt: Which attempt.
        agent: Where it ran.
        why: The reason in words.
    """

    attempt: int
    agent: str
    why: str


def losses_of(paths: RegistryPaths, database: Database, job: int, *, floor: int) -> list[Loss]:
    """Return the losses of a job that segments tell of, by attempt; all segments are read.

    A loss together with the agent is in no segment: there was nobody left to write it.

    Args:
        paths: The registry's files.
        database: Its database.
        job: The job.
        floor: Attempts up to this one do not count any more.

    Raises:
        StorageError: A segment cannot be read.
        BrokenFrame: A record is damaged.
    """
    with Records(paths, database) as records:
        return sorted(_losses(paths, records, job, floor), key=lambda loss: loss.attempt)


def _losses(paths: RegistryPaths, records: Records, job: int, floor: int) -> Iterator[Loss]:
    for path in sorted(paths.segments.glob("*.results")):
        rows = read_stretch(path, 0).rows
        mine = rows[
            (rows["job"] == job) & (rows["outcome"] == Outcome.LOST) & (rows["attempt"] > floor)
        ]
        for row in mine:
            body = records.body(path.name, job, int(row["pos"]), int(row["size"]))
            said = str(msgpack.unpackb(body)) if len(body) else ""
            yield Loss(
                attempt=int(row["attempt"]),
                agent=path.stem,
                why=said or Reason(int(row["reason"])).text or "its slot died",
            )
