"""Print what watching costs: counting ended jobs, a snapshot, a scrape.

    python benchmarks/watching.py [--jobs N]

A registry's database of its own, without broker and agents: rows of ended jobs are applied as the
coordinator does, then counted. Processor time; medians.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from batchpilot.coordinator.desk import segment_of
from batchpilot.coordinator.watching.exposition import Exposed, Exposition
from batchpilot.coordinator.watching.outcomes import OutcomeCounter
from batchpilot.coordinator.watching.snapshot import Snapshot, count_waiting
from batchpilot.coordinator.watching.totals import Totals
from batchpilot.registry.base import make_files
from batchpilot.registry.defining import add_jobs
from batchpilot.resources import class_id
from batchpilot.store.changing import ROW_DTYPE, Applied, Rows, apply_rows
from batchpilot.store.database import Database
from batchpilot.store.pages import State
from batchpilot_broker.nouns import Outcome, ResourceClass


BATCH = 10_000


def submitted(root: Path, jobs: int) -> Database:
    """Return a registry's database with jobs that are handed out."""
    database = Database(make_files(root, seed=1, kind="map", work_dir=root.parent))
    ids = np.arange(1, jobs + 1)
    name = class_id(ResourceClass())
    with database.write() as tx:
        add_jobs(tx, [pickle.dumps((1,))] * jobs)
        tx.execute("add_class", name, b"")
        tx.execute("add_submission", 0.0, name, "e", b"", 0, b"")
        for column, value in (("submission", 1), ("attempt", 1), ("state", State.FED)):
            tx.pages.put(column, ids, value)  # type: ignore[arg-type]  # three columns by name
    return database


def ended(first: int) -> Rows:
    """Return rows of jobs that have ended."""
    random = np.random.default_rng(first)
    rows = np.zeros(BATCH, ROW_DTYPE)
    rows["job"] = np.arange(first, first + BATCH)
    rows["attempt"] = 1
    rows["outcome"] = random.choice([Outcome.DONE, Outcome.DONE, Outcome.ERROR], BATCH)
    rows["started"] = 100.0
    rows["ended"] = 100.0 + random.exponential(3.0, BATCH)
    return rows


def timed(call: Callable[[], object]) -> float:
    """Return the processor time of a call in milliseconds."""
    started = time.process_time()
    call()
    return 1e3 * (time.process_time() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500_000)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as place:
        database = submitted(Path(place) / "registry", jobs)
        counter = OutcomeCounter(Totals())
        costs = []
        for first in range(1, jobs - BATCH + 2, BATCH):
            with database.write() as tx:
                number, _ = segment_of(tx, "a.results", "a")
                apply_rows(tx, number, ended(first), Applied())
            with database.read() as tx:
                costs.append(timed(lambda: counter.step(tx)))
        with database.read() as tx:
            looks = [timed(lambda: count_waiting(tx, counter.totals)) for _ in range(20)]
        exposed = Exposed(snapshot=Snapshot(), totals=counter.totals)
        exposition = Exposition("benchmark", lambda: exposed)
        scrapes = [timed(exposition.text) for _ in range(50)]
        database.close()
    size = len(exposition.text())
    print(f"count {BATCH} ended jobs   {statistics.median(costs):6.2f} ms")
    print(f"look at the queues       {statistics.median(looks):6.2f} ms")
    print(f"scrape                   {statistics.median(scrapes):6.2f} ms, {size} bytes")


if __name__ == "__main__":
    main()
