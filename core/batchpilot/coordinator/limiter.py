"""Limit: at most `max_concurrent_jobs` jobs of the registry run at once.

Of a chunk one job runs at a time, so it is chunks that are counted: those queued and those that
agents hold, of all classes together. Where the limit is lowered, queued chunks are taken back;
what runs may end.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict

from batchpilot.store.changing import end_chunk

from .desk import Desk


class Limiter:
    """Tell how many chunks may be handed out.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def room(self) -> float:
        """Return how many chunks may be handed out now; take back what is queued beyond."""
        with self._desk.db.read() as tx:
            limit = json.loads(tx.meta("max_concurrent_jobs") or "null")
            chunks = tx.all("all_chunks") if limit else []
        if not limit:
            return math.inf
        excess = len(chunks) - int(limit)
        if excess > 0:
            queued = [(row[0], row[1]) for row in chunks if not row[5]]
            self._take_back(queued[-excess:])
        return max(0, -excess)

    def _take_back(self, chunks: list[tuple[int, str]]) -> None:
        by_class: dict[str, list[int]] = defaultdict(list)
        for number, class_id in chunks:
            by_class[class_id].append(number)
        for class_id, numbers in by_class.items():
            withdrawn = self._desk.broker.withdraw(class_id, numbers)
            with self._desk.db.write() as tx:
                for number in withdrawn:
                    end_chunk(tx, number)
