"""Look at the running jobs without a message: how long they run, and who waits behind them.

What is found there has consequences:

    over the chunk's budget      the jobs behind it are handed back, unless they are to stay
                                 together, and all that waits here too when every slot is in
                                 that state
    over the job's walltime      it is ended and expired
    older than 50 ms             the next report says that it runs
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from batchpilot_broker.frames import NO_PART
from batchpilot_broker.nouns import Outcome, Reason

from .board import Board, Word
from .handles import SlotHandle
from .holdings import Holdings
from .stopper import Stopper
from .work import Order, Verdict


INTERVAL = 0.05
SHOWN_AFTER = 0.05
Running = tuple[int, int, float, int]
"""Job, attempt, unix time of its start, log position."""

_log = logging.getLogger(__name__)


class Watch:
    """Watch running jobs.

    Args:
        holdings: The slots that are busy.
        board: What they announce.
        stopper: Ends jobs and hands back those behind them.
        clock: Time for durations.
        wall: Unix time.
    """

    def __init__(
        self,
        holdings: Holdings,
        board: Board,
        stopper: Stopper,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._holdings = holdings
        self._board = board
        self._stopper = stopper
        self._clock = clock
        self._wall = wall
        self._last = 0.0
        self._troubled: set[int] = set()

    def tick(self, now: float) -> None:
        """Look at every busy slot, at most every 50 ms."""
        if now - self._last < INTERVAL:
            return
        for slot, order in self._holdings.orders():
            word = self._board.read(slot.number)
            if word.serial == order.serial and word.position:
                self._look(slot, order, word, now)
        self._last = now
        self._hand_back_waiting()

    def news(self, now: float) -> list[tuple[Order, Running]]:
        """Return the running jobs that are to be reported, with what is to be said of them."""
        return [
            (order, (order.running, order.work.chunk.attempt, order.began, order.mirror))
            for slot, order in self._holdings.orders()
            if order.position
            and now - order.seen >= SHOWN_AFTER
            and order.told != (order.position, order.mirror)
            and self._stopper.position(slot, order) == order.position
        ]

    def _look(self, slot: SlotHandle, order: Order, word: Word, now: float) -> None:
        if word.position != order.position:
            self._see(order, word)
        self._note_trouble(slot, word)
        chunk = order.work.chunk
        if chunk.budget and now - order.work.since > chunk.budget and not order.work.overrun:
            order.work.overrun = True
            if not chunk.whole:
                self._stopper.hand_back_unstarted(slot, order, "overrun", now)
        limit = chunk.resources.walltime
        if limit and now - order.seen > limit and order.verdict is None:
            text = f"walltime of {limit:g} s exceeded"
            self._expire(slot, order, Reason.WALLTIME, text, now)

    def _see(self, order: Order, word: Word) -> None:
        """Note that another job runs; its age is reckoned by our clock, the system's may jump.

        The job may have begun behind the time by which this turn goes: both clocks are asked anew,
        ours last, so that a pause between them makes no job older than it is.
        """
        age = max(self._wall() - word.began, 0.0)
        now = self._clock()
        age = min(age, max(now - max(self._last, order.sent), 0.0))
        order.position, order.began, order.seen = word.position, word.began, now - age
        order.peak, order.mirror = 0, NO_PART
        order.work.since = order.work.since or order.seen

    def _note_trouble(self, slot: SlotHandle, word: Word) -> None:
        if word.trouble and slot.serial not in self._troubled:
            self._troubled.add(slot.serial)
            _log.warning(
                "slot %d cannot write its records and waits: is the disk full?", slot.number
            )
        elif not word.trouble:
            self._troubled.discard(slot.serial)

    def _expire(
        self, slot: SlotHandle, order: Order, reason: Reason, text: str, now: float
    ) -> None:
        verdict = Verdict(
            position=order.position, outcome=Outcome.EXPIRED, reason=reason, text=text
        )
        self._stopper.end(slot, order, verdict, now)

    def _hand_back_waiting(self) -> None:
        """Hand back what would wait behind jobs that overrun, all of them."""
        orders = [order for _, order in self._holdings.orders()]
        if orders and all(order.work.overrun for order in orders):
            for work in list(self._holdings.waiting):
                self._stopper.hand_back_waiting(work, "overrun")
