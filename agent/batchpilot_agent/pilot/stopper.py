"""Keep jobs from starting, end those that run: overrun, limits, cancelling, leaving come here.

A limit in the slot's word keeps jobs from starting without a message (see `words`). A running job
is ended by SIGTERM to its process group, so that it may clean up or raise `HandBack`, and by
SIGKILL when it has not gone after a while. What is written about it is its verdict, and is written
when the slot is dead; a job that ends by itself meanwhile keeps its own row.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass

from batchpilot_broker.nouns import JobRange

from .board import Board
from .handles import SlotHandle
from .holdings import Holdings
from .ledger import Ledger
from .settler import Settler
from .templates import Templates
from .work import Order, Verdict, Work


PATIENCE = 2.0


@dataclass(slots=True, kw_only=True)
class _Ending:
    slot: SlotHandle
    order: Order
    number: signal.Signals
    sent: bool
    due: float


class Stopper:
    """Stop jobs, before or after they have started.

    Args:
        holdings: What the agent holds.
        board: Where limits are set.
        ledger: Where handed back jobs are written.
        settler: Accounts for chunks that are complete by this.
        templates: Ends slots whose order is taken back whole.
    """

    def __init__(
        self,
        *,
        holdings: Holdings,
        board: Board,
        ledger: Ledger,
        settler: Settler,
        templates: Templates,
    ) -> None:
        self._holdings = holdings
        self._board = board
        self._ledger = ledger
        self._settler = settler
        self._templates = templates
        self._endings: dict[int, _Ending] = {}

    def position(self, slot: SlotHandle, order: Order) -> int:
        """Return 1 + the index of the job that runs now, 0 when the order is not begun."""
        word = self._board.read(slot.number)
        return word.position if word.serial == order.serial else 0

    def hold(self, slot: SlotHandle, order: Order, index: int) -> int | None:
        """Let no job at or behind an index of an order start.

        Returns:
            Index of the first job that is certain not to start; None when the order is just ending.
        """
        self._board.limit(slot.number, min(index, self._board.read(slot.number).limit))
        word = self._board.read(slot.number)
        if word.serial != order.serial:
            return index
        return max(index, word.position) if word.position else None

    def hand_back_unstarted(self, slot: SlotHandle, order: Order, reason: str, now: float) -> None:
        """Hand back the jobs of a slot's chunk behind the running one."""
        first = self.hold(slot, order, self.position(slot, order))
        if first is None:
            return
        self._ledger.handed_back(order.work, order.work.take_back(order.first + first), reason)
        if first == 0:
            self._release(slot, now)

    def hand_back_waiting(self, work: Work, reason: str) -> None:
        """Hand back a chunk that no slot has."""
        self._ledger.handed_back(work, work.take_back(work.next), reason)
        self._settler.conclude(work)

    def end(  # noqa: PLR0913 - who, why, when, how
        self,
        slot: SlotHandle,
        order: Order,
        verdict: Verdict,
        now: float,
        *,
        number: signal.Signals = signal.SIGTERM,
        until: float = 0.0,
    ) -> None:
        """End the running job that a verdict is about, if it still runs.

        Args:
            slot: Where it runs.
            order: What it is part of.
            verdict: What becomes of it.
            now: The time.
            number: The signal that it gets first.
            until: When it gets SIGKILL; in any case it has a moment. Said again, only an earlier
                time counts.
        """
        if self.hold(slot, order, verdict.position) != verdict.position:
            return
        order.verdict = verdict
        due = max(until, now + PATIENCE)
        known = self._endings.get(slot.serial)
        if known is not None and known.order is order and number == signal.SIGTERM:
            known.due = min(known.due, due)
            return
        sent = slot.kill(number)
        self._endings[slot.serial] = _Ending(
            slot=slot, order=order, number=number, sent=sent, due=due
        )

    def cancel(self, ranges: Iterable[JobRange], attempt: int, now: float) -> None:
        """Let jobs not start any more, or end them; nothing is written about them."""
        spans = list(ranges)
        for work in list(self._holdings.works.values()):
            if work.chunk.attempt <= attempt:
                self._cancel(work, work.indices(spans), now)

    def tick(self, now: float) -> None:
        """Kill what has not gone by SIGTERM."""
        for serial, ending in list(self._endings.items()):
            if ending.slot.order is not ending.order:
                del self._endings[serial]
            elif not ending.sent:
                ending.sent = ending.slot.kill(ending.number)
            elif now >= ending.due:
                ending.slot.kill(signal.SIGKILL)
                ending.due = now + PATIENCE

    def _release(self, slot: SlotHandle, now: float) -> None:
        """Take back an order that is not begun, and never will be by this slot."""
        self._settler.release(slot, now)
        self._templates.quit(slot, now)

    def _cancel(self, work: Work, indices: list[int], now: float) -> None:
        if not indices:
            return
        work.skips.update(indices)
        for slot, order in self._holdings.orders():
            if order.work is work:
                self._cancel_in(slot, order, indices, now)
        self._settler.conclude(work)

    def _cancel_in(self, slot: SlotHandle, order: Order, indices: list[int], now: float) -> None:
        unstarted = [i - order.first for i in indices if i - order.first >= order.position]
        inside = [i for i in unstarted if 0 <= i < order.size]
        if inside and self.hold(slot, order, min(inside)) == 0 and len(inside) == order.size:
            self._release(slot, now)
            return
        position = self.position(slot, order)
        if position and order.first + position - 1 in indices:
            self.end(slot, order, Verdict(position=position, text="cancelled"), now)
