"""What went wrong with jobs, read from the records of their ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import msgpack

from batchpilot.store.database import Database
from batchpilot.store.outcomes import Located
from batchpilot.store.records import Records
from batchpilot_broker.nouns import Outcome, Reason
from batchpilot_broker.paths import RegistryPaths


_REASONS = {int(reason): reason.text for reason in Reason if reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Hold why a job has no result.

    Attributes:
        type: Class of the exception; "" for a job that expired.
        message: What the exception said, or why the job expired.
        traceback: Text of the traceback; "" for a job that expired.
    """

    type: str
    message: str
    traceback: str

    @property
    def summary(self) -> str:
        """Return it in one line or few, as exceptions are shown."""
        if not self.type:
            return self.message
        return f"{self.type}: {self.message}" if self.message else self.type


class Failures:
    """Read why jobs failed or expired; close it, or use it in a `with`."""

    def __init__(self, paths: RegistryPaths, database: Database) -> None:
        self._records = Records(paths, database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._records.close()

    def of(self, located: Located) -> Iterator[Failure]:
        """Yield why each of the jobs failed or expired; outside of transactions.

        Raises:
            StorageError: A segment cannot be read.
            BrokenFrame: A record is damaged.
        """
        for job, segment, end in located.places():
            if segment is None:
                yield Failure(type="", message="expired", traceback="")
                continue
            body = self._records.body(segment, job, int(end["pos"]), int(end["size"]))
            yield _failure(int(end["outcome"]), int(end["reason"]), body)


def _failure(outcome: int, reason: int, body: memoryview) -> Failure:
    said: Any = msgpack.unpackb(body) if len(body) else ""
    if outcome == Outcome.ERROR:
        kind, message, traceback = said
        return Failure(type=kind, message=message, traceback=traceback)
    return Failure(type="", message=said or _REASONS.get(reason, "expired"), traceback="")
