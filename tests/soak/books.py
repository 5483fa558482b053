"""The ledger of a soak: what was submitted, what became of it, how often, and at what cost."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import suppress
from statistics import median

import numpy as np
import psutil
from tests.end_to_end.conftest import processes_of
from tests.end_to_end.failures.tools import applied, written

import batchpilot as bp
from batchpilot.store.changing import MAX_ATTEMPTS
from batchpilot.store.pages import ENDED_STATES, State, read_column
from batchpilot_broker.nouns import Outcome


KINDS = ("coordinator", "supervisor", "valkey", "redis", "batchpilot_agent")


class Books:
    """Count, and say whether all is accounted for.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: bp.Registry) -> None:
        self.registry = registry
        self.submitted: set[int] = set()
        self.recoveries: defaultdict[str, list[float]] = defaultdict(list)
        self.memory: list[tuple[float, dict[str, int]]] = []
        self._began = time.monotonic()

    def weigh(self) -> dict[str, int]:
        """Note the MB that each kind of process holds now, the largest of a kind."""
        held: dict[str, int] = {}
        for process in processes_of(self.registry.paths):
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                kind = next((k for k in KINDS if k in line), "other")
                size = process.memory_info().rss >> 20
                held[kind] = max(held.get(kind, 0), size)
        self.memory.append((time.monotonic() - self._began, held))
        return held

    def faults(self) -> list[str]:
        """Return what is lost, counted twice or wrong; nothing, if all is well."""
        with self.registry.database.read() as tx:
            states, floors = read_column(tx.db, "state"), read_column(tx.db, "floor")
            charged = read_column(tx.db, "charged")
        ids = np.array(sorted(self.submitted), np.int64)
        lost = ids[~np.isin(states[ids - 1], ENDED_STATES)]
        rows = applied(self.registry)
        rows = rows[rows["attempt"] > floors[rows["job"].astype(np.int64) - 1]]
        doubled = [job for job, n in Counter(rows["job"].tolist()).items() if n > 1]
        failed = ids[states[ids - 1] == State.ERROR]
        expired = ids[states[ids - 1] == State.EXPIRED]
        unfair = [job for job in expired.tolist() if charged[job - 1] < MAX_ATTEMPTS]
        strangers = set((np.flatnonzero(states != State.DEFINED) + 1).tolist()) - self.submitted
        wrong = [
            job
            for job, result in zip(*self._results(states), strict=True)
            if result != (job, job * job)
        ]
        self.counts = {
            "jobs": len(ids),
            "done": int((states[ids - 1] == State.DONE).sum()),
            "expired by three charged losses": len(expired) - len(unfair),
            "lost": len(lost),
            "doubled": len(doubled),
            "wrong": len(wrong) + len(failed) + len(unfair) + len(strangers),
        }
        named = {
            "lost": lost.tolist(), "counted twice": doubled, "wrong results": wrong,
            "in error": failed.tolist(), "expired before three losses": unfair,
            "submitted by nobody": sorted(strangers),
        }  # fmt: skip
        return [f"{name}: {jobs[:10]}" for name, jobs in named.items() if jobs]

    def _results(
        self, states: np.ndarray[tuple[int], np.dtype[np.uint8]]
    ) -> tuple[list[int], list[object]]:
        done = (np.flatnonzero(states == State.DONE) + 1).tolist()
        return done, self.registry.reduce_results_list(ids=done)

    def tell(self, strikes: dict[str, int]) -> str:
        """Return the ledger as text."""
        rows = written(self.registry)
        runs = int((rows["outcome"] == Outcome.DONE).sum())
        attempts = self.registry.database
        with attempts.read() as tx:
            highest = int(read_column(tx.db, "attempt").max())
        lines = [f"{name}: {count:,}" for name, count in self.counts.items()]
        lines += [
            f"records of done jobs written: {runs:,} (more than done: late ones, not counted)",
            f"highest attempt: {highest}",
            f"files: {sum(1 for path in self.registry.file_dir.rglob('*') if path.is_file())}",
            "",
            "broken | times | recovered after, median s | most s",
        ]
        for name, times in sorted(strikes.items()):
            took = self.recoveries.get(name, [])
            figures = f"{median(took):.1f} | {max(took):.1f}" if took else "- | -"
            lines.append(f"{name} | {times} | {figures}")
        return "\n".join([*lines, "", *self._memory()])

    def _memory(self) -> list[str]:
        kinds = sorted({kind for _, held in self.memory for kind in held})
        step = max(1, len(self.memory) // 12)
        rows = [
            f"{at / 60:5.1f} min | " + " | ".join(str(held.get(kind, "-")) for kind in kinds)
            for at, held in self.memory[::step]
        ]
        return ["RSS of the largest process, MB | " + " | ".join(kinds), *rows]
