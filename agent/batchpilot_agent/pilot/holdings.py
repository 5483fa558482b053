"""What the agent holds: chunks that wait for a slot, busy slots, and the room that leaves."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

from batchpilot_agent.serving import Room
from batchpilot_agent.settings import Settings

from .handles import SlotHandle
from .work import Order, Work


class Holdings:
    """Keep the chunks and busy slots of an agent.

    Attributes:
        waiting: Chunks that wait for a slot, the next one first.
        works: All chunks held, by number.
        busy: Slots that have an order, by serial.
        draining: Whether nothing more is to be begun.
        changes: Counts the ends of orders, for those who act on one.
    """

    def __init__(self, settings: Settings) -> None:
        self.total = Room(
            slots=settings.slots,
            cores=settings.cores,
            memory=settings.memory or math.inf,
            gpus=len(settings.devices),
        )
        self._free = list(settings.devices)
        self._device_variables = settings.device_variables if settings.devices else ()
        self.waiting: deque[Work] = deque()
        self.works: dict[int, Work] = {}
        self.busy: dict[int, SlotHandle] = {}
        self.draining = False
        self.changes = 0

    @property
    def room(self) -> Room:
        """Return what may still be begun."""
        needs = [order.work.chunk.resources for _, order in self.orders()]
        return Room(
            slots=self.total.slots - len(needs),
            cores=self.total.cores - sum(need.ncpus for need in needs),
            memory=self.total.memory - sum(need.memory for need in needs),
            gpus=self.total.gpus - sum(need.gpus for need in needs),
        )

    def orders(self) -> Iterator[tuple[SlotHandle, Order]]:
        """Yield each busy slot with its order; slots may become idle meanwhile."""
        for slot in list(self.busy.values()):
            if slot.order is not None:
                yield slot, slot.order

    def add(self, work: Work) -> None:
        """Take a chunk in; it waits behind the others."""
        self.works[work.chunk.id] = work
        self.waiting.append(work)

    def give(self, slot: SlotHandle, order: Order) -> None:
        """Note that a slot works on an order, and choose the devices that are its jobs' alone."""
        wanted = order.work.chunk.resources.gpus
        order.devices, self._free = tuple(self._free[:wanted]), self._free[wanted:]
        order.variables = dict.fromkeys(self._device_variables, ",".join(order.devices))
        slot.order = order
        slot.used += 1
        order.work.out = True
        self.busy[slot.serial] = slot

    def take(self, slot: SlotHandle, now: float) -> Order | None:
        """Note that a slot has no order any more, and return the one it had."""
        order, slot.order = slot.order, None
        slot.since = now
        self.busy.pop(slot.serial, None)
        if order is not None:
            order.work.out = False
            self._free.extend(order.devices)
            self.changes += 1
        return order


class Pace:
    """Remember how long the jobs of a class take, from the orders that have ended."""

    _WEIGHT = 0.3

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def learn(self, class_id: str, jobs: int, seconds: float) -> None:
        """Take in that some jobs took some seconds."""
        if jobs:
            each = seconds / jobs
            known = self._seconds.get(class_id, each)
            self._seconds[class_id] = known + self._WEIGHT * (each - known)

    def each(self, class_id: str) -> float:
        """Return the seconds that a job of a class takes, 0 where nothing is known."""
        return self._seconds.get(class_id, 0.0)

    def remaining(self, order: Order) -> float:
        """Return the seconds that an order may take yet, infinite where nothing is known."""
        each = self._seconds.get(order.work.chunk.class_id)
        left = order.size - max(order.position - 1, 0)
        if each is None:
            return 0.0 if order.size > 1 else math.inf
        return each * left
