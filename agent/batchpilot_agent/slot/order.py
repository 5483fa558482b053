"""An order: what the pilot tells a slot to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchpilot_broker.nouns import Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Hold what the pilot tells a slot to run: a chunk, or the rest of one.

    Attributes:
        serial: Number of the order.
        chunk: Number of the chunk.
        attempt: Attempt of every job in it.
        ids: Job ids in the order to run.
        offsets: Where each job's parameters begin in `pars`; one more than jobs.
        pars: The jobs' parameters, one pickle each, end to end.
        isolation: Whether a process runs one job or many.
        seed: The registry's seed.
        shown: Resources as the user gave them.
        measure: Whether peak memory is recorded.
        variables: What its jobs find in their environment, such as the devices that are theirs.
    """

    serial: int
    chunk: int
    attempt: int
    ids: tuple[int, ...]
    offsets: memoryview
    pars: memoryview
    isolation: Isolation
    seed: int
    shown: Mapping[str, Any]
    measure: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_message(cls, message: list[Any]) -> Order:
        """Return the order in a pilot's "run" message."""
        _, serial, chunk, attempt, ranges, offsets, pars, isolation, seed, shown, extra = message
        return cls(
            serial=serial,
            chunk=chunk,
            attempt=attempt,
            ids=tuple(job for first, last in ranges for job in range(first, last + 1)),
            offsets=memoryview(offsets).cast("I"),
            pars=memoryview(pars),
            isolation=Isolation(isolation),
            seed=seed,
            shown=shown,
            measure=bool(shown.get("measure_memory")),
            variables=extra,
        )
