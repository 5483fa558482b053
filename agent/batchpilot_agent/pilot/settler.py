"""What becomes of the jobs of an order that has ended, by its own word or by a death.

There are four cases:

    the slot says so             its jobs are run, their rows are written; the rest goes on
    the slot died in a job       that job is lost, or gets its verdict; the rest goes on
    the template never came up   every job of the chunk is an error, with the traceback
    nothing is left              the chunk's end is written, then the broker hears of it
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgpack

from batchpilot_broker.nouns import Outcome, Reason

from .board import Board
from .handles import Failure, SlotEnded, SlotHandle, TemplateFailed, status_text, was_told_to_go
from .holdings import Holdings, Pace
from .ledger import Ledger, Loss
from .spools import Spools
from .work import Order, Verdict, Work


MOST_BARREN = 3
_KB_PER_MB = 1024
_log = logging.getLogger(__name__)


class Settler:
    """Account for the jobs of orders that have ended.

    Args:
        holdings: What the agent holds.
        ledger: Where it is written.
        spools: The output of slots that died.
        board: What slots announced last.
        pace: Learns from orders that ended well.
        wall: Unix time.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        *,
        holdings: Holdings,
        ledger: Ledger,
        spools: Spools,
        board: Board,
        pace: Pace,
        wall: Callable[[], float],
    ) -> None:
        self._holdings = holdings
        self._ledger = ledger
        self._spools = spools
        self._board = board
        self._pace = pace
        self._wall = wall

    def said(self, slot: SlotHandle, message: list[Any], now: float) -> None:
        """Settle the order that a slot says has ended, unless that is old news."""
        _, serial, started, seconds, why = message
        order = slot.order
        if order is None or order.serial != serial:
            return
        work = order.work
        work.next = order.first + started
        work.ran += started
        work.seconds += seconds
        slot.template.barren = 0
        slot.leaving = slot.leaving or why.startswith("leave:") or order.verdict is not None
        self._pace.learn(work.chunk.class_id, started, seconds)
        self.release(slot, now)

    def slot_ended(self, event: SlotEnded, now: float) -> None:
        """Settle the order of a slot that has died; one that had none has just left."""
        slot, order = event.slot, event.slot.order
        if order is not None:
            self._settle_death(slot, order, event, now)
            self.release(slot, now)
        self._spools.remove(slot)

    def template_failed(self, event: TemplateFailed, now: float) -> None:
        """Give the jobs that wait for a template the error that kept it from coming up."""
        for slot in event.slots:
            if slot.order is not None:
                self.fail(slot.order.work, event.failure)
                self.release(slot, now)

    def fail(self, work: Work, failure: Failure) -> None:
        """Give every job left of a chunk the error of its template."""
        loss = _template_loss(failure, self._wall())
        for job in work.take_back(work.next):
            self._ledger.lost(work, job, loss)
            work.ran += 1

    def release(self, slot: SlotHandle, now: float) -> None:
        """Take a slot's order away and let the rest of its chunk go on, unless the agent drains."""
        order = self._holdings.take(slot, now)
        if order is None:
            return
        work = order.work
        if self._holdings.draining:
            self._ledger.handed_back(work, work.take_back(work.next), "unstarted")
        if not self.conclude(work):
            self._holdings.waiting.appendleft(work)

    def conclude(self, work: Work) -> bool:
        """Write the end of a chunk when all its jobs are accounted for; tell whether they are."""
        if not work.complete:
            return False
        if self._holdings.works.pop(work.chunk.id, None) is not None:
            self._ledger.ended(work)
        if work in self._holdings.waiting:
            self._holdings.waiting.remove(work)
        return True

    def _settle_death(self, slot: SlotHandle, order: Order, event: SlotEnded, now: float) -> None:
        word = self._board.read(slot.number)
        position = word.position if word.serial == order.serial else 0
        verdict, work = order.verdict, order.work
        if slot.template.starved:
            return  # there never was a process
        slot.template.barren = 0 if position else slot.template.barren + 1
        if not position and slot.template.barren < MOST_BARREN:
            _log.warning(
                "slot %d ended before its first job: %s", slot.number, status_text(event.status)
            )
            return
        position = position or 1
        work.seconds += now - order.sent
        work.ran += position - 1
        work.next = order.first + position
        if verdict is None and self._holdings.draining and was_told_to_go(event.status):
            verdict = Verdict(position=position, text="drain", hand_back=True)
        elif verdict is None:
            verdict = _lost(position, event.status)
        elif (
            verdict.position != position
        ):  # the next job had begun when the signal came: it is innocent
            work.next -= 1
            return
        self._pass(verdict, slot, order, event, word.began or self._wall())

    def _pass(
        self, verdict: Verdict, slot: SlotHandle, order: Order, event: SlotEnded, began: float
    ) -> None:
        work, job = order.work, order.work.ids[order.first + verdict.position - 1]
        about = {"job": job, "chunk": work.chunk.id, "attempt": work.chunk.attempt}
        _log.info("job %d of slot %d ended: %s", job, slot.number, verdict.text, extra=about)
        if verdict.hand_back:
            self._ledger.handed_back(work, [job], verdict.text)
        if verdict.outcome is None:
            return
        work.ran += 1
        memory = max(order.peak / 2**20, event.maxrss_kb / _KB_PER_MB)
        loss = Loss(
            outcome=verdict.outcome,
            reason=verdict.reason,
            body=msgpack.packb(verdict.text),
            slot=slot.number,
            started=began,
            ended=self._wall(),
            log=self._spools.whole(slot, job, work.chunk.attempt),
            memory=memory,
        )
        self._ledger.lost(work, job, loss)


def _lost(position: int, status: int | None) -> Verdict:
    text = status_text(status)
    if status is None:
        reason = Reason.TEMPLATE
    else:
        reason = Reason.SIGNAL if text.startswith("signal") else Reason.EXIT
    return Verdict(position=position, outcome=Outcome.LOST, reason=reason, text=text)


def _template_loss(failure: Failure, now: float) -> Loss:
    if failure.died:
        outcome, body = Outcome.LOST, msgpack.packb(failure.message)
    else:
        outcome = Outcome.ERROR
        body = msgpack.packb([failure.type, failure.message, failure.traceback])
    return Loss(outcome=outcome, reason=Reason.TEMPLATE, body=body, started=now, ended=now)
