"""What a registry says of its jobs: read from pages, tables and segments, for the machine."""

from __future__ import annotations

from collections import Counter

import numpy as np
from tests.core.book import CLASS, array

from batchpilot.store.outcomes import locate, segment_names
from batchpilot.store.pages import COLUMNS, ENDED_STATES, State, unpack_ranges
from batchpilot_broker.frames import ROW, frame_at
from batchpilot_broker.nouns import Outcome

from .stage import Stage


ENDS = {Outcome.DONE: State.DONE, Outcome.ERROR: State.ERROR, Outcome.EXPIRED: State.EXPIRED}


class Ledger:
    """Read what a registry says of its jobs.

    Args:
        stage: The registry, whoever is in office.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def columns(self) -> dict[str, list[int]]:
        """Return all that pages hold of the jobs."""
        return {name: self.stage.book.column(name) for name in COLUMNS}

    def queued_as_before(self) -> set[int]:
        """Return jobs that never were handed out: that they were killed is in no segment."""
        now = self.columns()
        return {
            job
            for job, state in enumerate(now["state"], 1)
            if state == State.QUEUED and now["attempt"][job - 1] == now["floor"][job - 1]
        }

    def ends(self) -> dict[int, tuple[int, int]]:
        """Return (attempt, outcome) of the jobs that have ended, read from their records."""
        now = self.columns()
        over = [job for job, state in enumerate(now["state"], 1) if state in ENDED_STATES]
        with self.stage.book.database.read() as tx:
            found, names = locate(tx, array(over)), segment_names(tx)
        ends = {}
        for job, end in zip(over, found, strict=True):
            path = self.stage.paths.segments / names[int(end["segment"])]
            frame = frame_at(memoryview(path.read_bytes()), int(end["pos"]))
            assert frame is not None
            assert ROW.unpack_from(frame.payload)[:3] == (job, end["attempt"], end["outcome"])
            assert now["floor"][job - 1] < end["attempt"] <= now["attempt"][job - 1]
            assert ENDS.get(Outcome(end["outcome"]), State.EXPIRED) == now["state"][job - 1]
            ends[job] = (int(end["attempt"]), int(end["outcome"]))
        return ends

    def places(self) -> Counter[int]:
        """Count the places from which each job will be run, or its end be learned."""
        now, found = self.columns(), Counter[int]()
        with self.stage.book.database.read() as tx:
            for _, _, _, attempt, ranges, _, _ in tx.all("all_chunks"):
                found.update(
                    job
                    for job in unpack_ranges(ranges).tolist()
                    if now["attempt"][job - 1] == attempt
                    and now["state"][job - 1] in (State.FED, State.RUNNING)
                )
            waiting = [(n, unpack_ranges(r)) for n, r in tx.all("again_of_class", CLASS)]
            for number, first, size, blob, done in tx.all("spans_of_class", CLASS):
                span = (
                    np.arange(first, first + size) if blob is None else np.frombuffer(blob, "<u4")
                )
                waiting.append((number, span[done:].astype(np.int64)))
        for number, jobs in waiting:
            found.update(
                job
                for job in jobs.tolist()
                if now["submission"][job - 1] == number and now["state"][job - 1] == State.QUEUED
            )
        return found
