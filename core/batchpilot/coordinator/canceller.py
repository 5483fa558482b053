"""Cancel: withdraw queued chunks, end what runs, note the tombstone, as kill_jobs ordered."""

from __future__ import annotations

import numpy as np

from batchpilot.store.changing import end_chunk
from batchpilot.store.pages import Ids, unpack_ranges
from batchpilot.store.tombstones import tombstone

from .desk import Desk


class Canceller:
    """Carry out the orders in table `cancel`.

    Args:
        desk: What the duties share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def tick(self) -> int:
        """Carry out all orders; return how many there were."""
        with self._desk.db.read() as tx:
            orders = tx.all("all_cancels")
        for number, blob, floor in orders:
            ids = unpack_ranges(blob)
            self._desk.segment.append(tombstone(blob, floor))
            self._cancel(ids, floor)
            with self._desk.db.write() as tx:
                tx.execute("drop_cancel", number)
        return len(orders)

    def _cancel(self, ids: Ids, floor: int) -> None:
        """Take the chunks that hold the jobs out of the queue, or tell their agents."""
        leased: set[int] = set()
        for class_id, chunks in self._chunks_with(ids, floor).items():
            withdrawn = self._desk.broker.withdraw(class_id, chunks)
            with self._desk.db.write() as tx:
                for chunk in withdrawn:
                    end_chunk(tx, chunk)
            leased.update(set(chunks) - set(withdrawn))
        if leased:
            holders = self._desk.broker.leases()
            agents = {holders[chunk] for chunk in leased if chunk in holders}
            self._desk.cancel_at_agents(ids, floor, agents)

    def _chunks_with(self, ids: Ids, floor: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        with self._desk.db.read() as tx:
            rows = tx.all("all_chunks")
        for number, class_id, _, attempt, ranges, _, _ in rows:
            if attempt <= floor and np.isin(unpack_ranges(ranges), ids).any():
                found.setdefault(class_id, []).append(number)
        return found
