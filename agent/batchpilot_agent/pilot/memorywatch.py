"""Measure what running jobs use of memory, and expire those over their limit."""

from __future__ import annotations

import signal

from batchpilot_agent.processes import Process, process_table, tree_of
from batchpilot_broker.nouns import Outcome, Reason

from .handles import SlotHandle
from .holdings import Holdings
from .stopper import Stopper
from .work import Order, Verdict


INTERVAL = 0.5
_MB = 1 << 20


class MemoryWatch:
    """Sum the resident memory of each job's processes, where its class has a limit or wants it.

    Args:
        holdings: The slots that are busy.
        stopper: Ends jobs.
    """

    def __init__(self, holdings: Holdings, stopper: Stopper) -> None:
        self._holdings = holdings
        self._stopper = stopper
        self._next = 0.0

    def tick(self, now: float) -> None:
        """Look at the processes, every 0.5 s and only while there is somebody to look at."""
        if now < self._next:
            return
        watched = [
            (slot, order)
            for slot, order in self._holdings.orders()
            if order.position and slot.pid and _is_measured(order)
        ]
        if not watched:
            return
        self._next = now + INTERVAL
        table = process_table()
        for slot, order in watched:
            self._look(slot, order, table, now)

    def _look(self, slot: SlotHandle, order: Order, table: dict[int, Process], now: float) -> None:
        used = sum(table[pid].resident for pid in tree_of(slot.pid, table) & table.keys())
        order.peak = max(order.peak, used)
        limit = order.work.chunk.resources.memory
        if not limit or used <= limit * _MB:
            return
        verdict = Verdict(
            position=order.position,
            outcome=Outcome.EXPIRED,
            reason=Reason.MEMORY,
            text=f"memory of {limit:g} MB exceeded ({used / _MB:.0f} MB used)",
        )
        self._stopper.end(slot, order, verdict, now, number=signal.SIGKILL)


def _is_measured(order: Order) -> bool:
    resources = order.work.chunk.resources
    return bool(resources.memory) or resources.measure_memory
