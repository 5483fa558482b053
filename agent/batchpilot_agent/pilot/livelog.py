"""Mirror the log of long jobs while they run, so that it can be read."""

from __future__ import annotations

from .handles import SlotHandle
from .holdings import Holdings
from .spools import Copy, Spools
from .work import Order


AFTER = 10.0
INTERVAL = 10.0
MOST = 1 << 18


class LiveLog:
    """Copy what is new of the output of jobs that run longer than 10 s, every 10 s.

    Args:
        holdings: The slots that are busy.
        spools: Where their output is.
    """

    def __init__(self, holdings: Holdings, spools: Spools) -> None:
        self._holdings = holdings
        self._spools = spools
        self._copies: dict[Order, tuple[float, int, Copy]] = {}

    def tick(self, now: float) -> None:
        """Copy what is due; forget jobs that have ended."""
        old = [
            (slot, order)
            for slot, order in self._holdings.orders()
            if order.position and now - order.seen >= AFTER
        ]
        self._copies = {order: self._copies[order] for _, order in old if order in self._copies}
        for slot, order in old:
            self._copy(slot, order, now)

    def _copy(self, slot: SlotHandle, order: Order, now: float) -> None:
        due, position, copy = self._copies.get(order, (0.0, 0, None))
        if position == order.position and now < due:
            return
        if copy is None or position != order.position:
            copy = Copy(job=order.running, attempt=order.work.chunk.attempt)
        if self._spools.copy(slot, copy, MOST):
            order.mirror = copy.last
        self._copies[order] = (now + INTERVAL, order.position, copy)
