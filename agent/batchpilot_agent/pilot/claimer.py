"""Claim chunks: for free slots, and ahead for those about to be free: none waits for the broker.

Offered are the classes that this agent can serve: of its pool, within its cores, memory and
devices, and with a walltime, or what their jobs have taken so far, that ends before its allocation
does. Nothing is claimed ahead behind
long jobs, where it would only wait while other agents are idle. What a broker gives once more, that
was killed and has forgotten its last claims, runs no second time.
"""

from __future__ import annotations

import logging

from batchpilot_agent.serving import Room, is_placed, seconds_needed
from batchpilot_agent.settings import Settings
from batchpilot_broker.errors import WireError
from batchpilot_broker.nouns import Chunk, ResourceClass

from .dispatcher import OVERTAKEN, Dispatcher
from .holdings import Holdings, Pace
from .ledger import Ledger
from .link import Link
from .walltime import Walltime
from .work import Order, Work


SOON = 2.0
AGAIN = 5.0
_log = logging.getLogger(__name__)


class Claimer:
    """Claim chunks that fit.

    Args:
        settings: What the agent may use.
        holdings: What it holds.
        ledger: Knows what has ended here.
        link: The broker.
        dispatcher: Starts what was claimed at once.
        pace: Tells which slots are free soon.
        walltime: The end of the allocation.

    Attributes:
        dry: Whether the last claim found nothing.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        *,
        settings: Settings,
        holdings: Holdings,
        ledger: Ledger,
        link: Link,
        dispatcher: Dispatcher,
        pace: Pace,
        walltime: Walltime,
    ) -> None:
        self._settings = settings
        self._holdings = holdings
        self._ledger = ledger
        self._link = link
        self._dispatcher = dispatcher
        self._pace = pace
        self._walltime = walltime
        self._classes: dict[str, ResourceClass] = {}
        self._fresh = False
        self._changes = 0
        self._again = 0.0
        self.dry = False

    def rung(self) -> None:
        """Note that there may be work again."""
        self.dry = False

    def refresh(self) -> None:
        """Note that the table of classes may have changed."""
        self._fresh = self.dry = False

    def tick(self, now: float) -> None:
        """Claim as long as there is something to claim and to claim it for."""
        if not self._may_claim():
            return
        if now >= self._again:
            self._again = now + AGAIN
            self.refresh()
        if self._changes != self._holdings.changes:
            self._changes, self.dry = self._holdings.changes, False
        while not self.dry:
            offer = self._offer(now)
            if not offer:
                return
            self._claim(offer, now)

    def bells(self, now: float) -> tuple[str, ...]:
        """Return the classes to be told of, those of high priority first.

        They are those that would be claimed of: whoever hears a bell keeps it from the others.
        """
        if not self._may_claim():
            return ()
        served = self._offer(now)
        return tuple(sorted(served, key=lambda name: (-served[name].priority, name)))

    def _may_claim(self) -> bool:
        return self._link.broker is not None and self._link.trusted and not self._holdings.draining

    def _claim(self, offer: dict[str, ResourceClass], now: float) -> None:
        broker = self._link.broker
        if broker is None:
            return
        try:
            offered = [(name, need.priority) for name, need in offer.items()]
            chunk: Chunk | None = broker.claim(self._settings.agent, offered)
        except WireError:
            _log.exception("a chunk is refused")
            return
        if chunk is None:
            self.dry = True
            return
        if chunk.id in self._holdings.works or self._ledger.has_ended(chunk.id):
            self._refuse(chunk.id)
            return
        _log.debug("chunk %d of %d jobs", chunk.id, chunk.size, extra={"chunk": chunk.id})
        self._holdings.add(Work(chunk=chunk, claimed=now))
        self._dispatcher.start(now)

    def _refuse(self, chunk: int) -> None:
        """Run nothing twice: what has ended here is told once more, what is held will be told."""
        _log.warning("chunk %d comes again: the broker has lost its claim", chunk)
        if self._ledger.has_ended(chunk):
            self._ledger.repeat_end(chunk)

    def _offer(self, now: float) -> dict[str, ResourceClass]:
        """Return the classes to claim of now: for free room, else ahead."""
        self._learn_classes()
        waiting = self._holdings.waiting
        if not waiting:
            fitting = self._served(self._holdings.room)
            if fitting:
                return fitting
        elif now - waiting[0].claimed > OVERTAKEN:
            return {}
        soon = sum(1 for _, order in self._holdings.orders() if self._is_soon(order, now))
        return self._served(self._holdings.total) if len(waiting) < soon else {}

    def _is_soon(self, order: Order, now: float) -> bool:
        """Tell whether a slot will be free so soon that the next chunk should be here by then."""
        in_job = now - order.seen if order.position else 0.0
        return in_job < SOON and self._pace.remaining(order) < SOON

    def _learn_classes(self) -> None:
        if not self._fresh and self._link.broker is not None:
            self._classes = self._link.broker.classes()
            self._fresh = True

    def _served(self, room: Room) -> dict[str, ResourceClass]:
        return {
            name: need
            for name, need in self._classes.items()
            if need.pool in ("", self._settings.pool)
            and room.fits(need)
            and self._in_time(name, need)
            and is_placed(need, self._settings.variables)
        }

    def _in_time(self, class_id: str, need: ResourceClass) -> bool:
        needed = seconds_needed(need, self._pace.each(class_id), self._settings.grace)
        return self._walltime.left >= needed
