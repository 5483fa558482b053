"""Leave in order: claim no more, hand back what has not begun, let what runs end, say good-bye.

The agent passes through these states, and never back:

    staying -> draining   SIGTERM, `drain`, idle, orphaned, walltime: unstarted jobs go back,
                          jobs that catch SIGTERM get it: the grace is theirs, for a checkpoint
    draining -> ending    the grace is over, or `stop`: SIGTERM to the others, SIGKILL soon
    ending -> gone        all is accounted for and reported: `bye`

Jobs that were ended so are handed back and not charged.
"""

from __future__ import annotations

import logging
import signal

from batchpilot_agent.processes import catches, process_table
from batchpilot_agent.settings import MARGIN, Exit, Settings

from .handles import SlotHandle
from .holdings import Holdings
from .ledger import Ledger
from .link import Link
from .reporter import Reporter
from .stopper import Stopper
from .walltime import Walltime
from .work import Order, Verdict


LAST_WORDS = 5.0
LOOK = 1.0
"""Seconds between two looks at who catches SIGTERM: a job may have begun a moment ago."""

UNSTARTED = "unstarted"
_log = logging.getLogger(__name__)


class Leaver:
    """Let the agent go.

    Args:
        settings: The grace.
        holdings: What the agent holds.
        stopper: Hands back and ends jobs.
        ledger: Has to be written out before.
        reporter: Has to be done before.
        link: The broker to say good-bye to.
        walltime: The end of the allocation.

    Attributes:
        code: Exit code of the pilot, None while it stays.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        *,
        settings: Settings,
        holdings: Holdings,
        stopper: Stopper,
        ledger: Ledger,
        reporter: Reporter,
        link: Link,
        walltime: Walltime,
    ) -> None:
        self._settings = settings
        self._holdings = holdings
        self._stopper = stopper
        self._ledger = ledger
        self._reporter = reporter
        self._link = link
        self._walltime = walltime
        self._reason = ""
        self._exit = Exit.LEFT
        self._end_jobs_at = 0.0
        self._look_at = 0.0
        self._give_up_at: float | None = None
        self.code: Exit | None = None

    def leave(
        self, reason: str, now: float, *, grace: float | None = None, code: Exit = Exit.LEFT
    ) -> None:
        """Begin to leave; said again, only a shorter grace counts."""
        end = now + (self._settings.grace if grace is None else grace)
        if self._holdings.draining:
            self._end_jobs_at = min(self._end_jobs_at, end)
            return
        _log.info("leaving: %s", reason)
        self._reason, self._exit, self._end_jobs_at = reason, code, end
        self._holdings.draining = True
        for work in list(self._holdings.waiting):
            self._stopper.hand_back_waiting(work, UNSTARTED)
        for slot, order in self._holdings.orders():
            self._stopper.hand_back_unstarted(slot, order, UNSTARTED, now)

    def abandon(self, reason: str) -> None:
        """End at once; there is nobody to report to."""
        _log.error("ending: %s", reason)
        self.code = Exit.REGISTRY_GONE

    def tick(self, now: float) -> None:
        """Go on with leaving, or begin to when the allocation is about to end."""
        if self._walltime.left < self._settings.grace + MARGIN:
            self.leave("walltime", now)
        if not self._holdings.draining or self.code is not None:
            return
        if self._holdings.works:
            self._end_jobs(now)
        else:
            self._finish(now)

    def _end_jobs(self, now: float) -> None:
        listening = self._listening(now)
        for slot, order in self._holdings.orders():
            position = self._stopper.position(slot, order)
            if not position:
                self._stopper.hand_back_unstarted(slot, order, UNSTARTED, now)
            elif now >= self._end_jobs_at or slot.pid in listening:
                self._end(slot, order, position, now)

    def _end(self, slot: SlotHandle, order: Order, position: int, now: float) -> None:
        """Tell a job to go, or one that was told before that the grace has become shorter."""
        if order.verdict is None or order.verdict.hand_back:
            verdict = Verdict(position=position, text=self._reason, hand_back=True)
            self._stopper.end(slot, order, verdict, now, until=self._end_jobs_at)

    def _listening(self, now: float) -> set[int]:
        """Return the slots where the job, or what it has started, catches SIGTERM."""
        if now < self._look_at or now >= self._end_jobs_at:
            return set()
        self._look_at = now + LOOK
        slots = {slot.pid for slot, order in self._holdings.orders() if order.verdict is None}
        table = process_table()
        theirs = ((pid, one.session) for pid, one in table.items() if one.session in slots - {0})
        return {session for pid, session in theirs if catches(pid, signal.SIGTERM)}

    def _finish(self, now: float) -> None:
        if self._give_up_at is None:
            self._give_up_at = now + LAST_WORDS
        settled = self._ledger.settled and self._reporter.settled
        if self._reason == "walltime" and not self._link.generation:
            settled = False  # that it came too late is to be told, and it has not said hello yet
        if not settled and now < self._give_up_at and self._exit is not Exit.BROKER_GONE:
            return
        if self._link.broker is not None:
            self._link.broker.send("bye", agent=self._settings.agent, reason=self._reason)
            self._link.broker.leave(self._settings.agent)
        _log.info("gone: %s%s", self._reason, "" if settled else ", not all was reported")
        self.code = self._exit
