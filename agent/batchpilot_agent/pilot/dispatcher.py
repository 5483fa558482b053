"""Give chunks to slots: a warm slot of the right template, else a fresh one, forked ahead.

Jobs isolated by process get a slot that has run nothing before, one job an order. Chunks start in
the order they came; a chunk that needs more room than there is may be overtaken for a short while
only, then the room is kept for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from itertools import count

from batchpilot_agent.words import NO_LIMIT
from batchpilot_broker.nouns import Chunk, Isolation

from .board import Board
from .handles import (
    Failure,
    Heard,
    SlotEnded,
    SlotHandle,
    SlotSaid,
    TemplateHandle,
    TemplateKey,
    was_told_to_go,
)
from .holdings import Holdings
from .ledger import Ledger
from .settler import Settler
from .sweeper import Sweeper
from .templates import Templates
from .work import Order, Work


OVERTAKEN = 2.0
REMEMBERED = 60.0
_log = logging.getLogger(__name__)


class Dispatcher:
    """Give chunks to slots and hear what becomes of them.

    Args:
        holdings: What the agent holds.
        templates: Its templates and slots.
        board: Where limits are taken away.
        ledger: Where begun chunks are written.
        settler: Accounts for orders that have ended.
        sweeper: Ends what slots left running.
        patience: Seconds to wait, when a slot dies by a signal such as a batch system sends to all
            processes of a job, whether the agent is told to go, too.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        *,
        holdings: Holdings,
        templates: Templates,
        board: Board,
        ledger: Ledger,
        settler: Settler,
        sweeper: Sweeper,
        patience: float = 0.0,
    ) -> None:
        self._holdings = holdings
        self._templates = templates
        self._board = board
        self._ledger = ledger
        self._settler = settler
        self._sweeper = sweeper
        self._patience = patience
        self._doubtful: deque[tuple[float, SlotEnded]] = deque()
        self._serials = count(1)
        self._failed: dict[TemplateKey, tuple[float, Failure]] = {}
        self._last: tuple[TemplateHandle, Isolation] | None = None

    def tick(self, now: float) -> None:
        """Take in what slots and templates have said, start what waits, fork ahead."""
        heard = self._templates.heard
        while heard:
            self._take(heard.popleft(), now)
        while self._doubtful and (self._holdings.draining or now >= self._doubtful[0][0]):
            self._end(self._doubtful.popleft()[1], now)
        self.start(now)
        self._fork_ahead(now)

    def start(self, now: float) -> None:
        """Give waiting chunks to slots, as far as there is room."""
        for work in list(self._holdings.waiting):
            if not self._start(work, now) and now - work.claimed > OVERTAKEN:
                return

    def _start(self, work: Work, now: float) -> bool:
        if not self._holdings.room.fits(work.chunk.resources):
            return False
        key = key_of(work.chunk)
        if self._fail_as_before(work, key, now):
            return True
        template = self._templates.get(key, now)
        slot = self._idle_slot(template, work.chunk.isolation) or self._templates.fork(template)
        if slot is None:
            self._quit_one(now)
            return False
        self._holdings.waiting.remove(work)
        self._give(slot, work, now)
        self._last = (template, work.chunk.isolation)
        return True

    def _give(self, slot: SlotHandle, work: Work, now: float) -> None:
        most = 1 if work.chunk.isolation is Isolation.PROCESS else len(work.ids)
        first, end = work.stretch(most)
        order = Order(
            serial=next(self._serials), work=work, first=first, size=end - first, sent=now
        )
        self._ledger.started(work, slot.number)
        self._board.limit(slot.number, NO_LIMIT)
        self._holdings.give(slot, order)
        slot.line.send(order.message())
        self._templates.attend(slot)

    def _fail_as_before(self, work: Work, key: TemplateKey, now: float) -> bool:
        """Fail a chunk whose epoch has just failed to load, without loading it again."""
        since, failure = self._failed.get(key, (0.0, None))
        if failure is None:
            return False
        if now - since > REMEMBERED:
            del self._failed[key]
            return False
        self._settler.fail(work, failure)
        self._settler.conclude(work)
        return True

    def _take(self, event: Heard, now: float) -> None:
        match event:
            case SlotSaid(slot, ["end", *_] as message):
                self._settler.said(slot, message, now)
                if slot.leaving:
                    self._templates.quit(slot, now)
            case SlotSaid(slot, message):
                _log.error("slot %d says %r, which is no message", slot.number, message)
            case SlotEnded() if self._is_doubtful(event):
                self._doubtful.append((now + self._patience, event))
            case SlotEnded():
                self._end(event, now)
            case _:
                _log.error("epoch %s does not load: %s", event.key[0][:12], event.failure.message)
                if not event.failure.died:
                    self._failed[event.key] = (now, event.failure)
                self._settler.template_failed(event, now)

    def _is_doubtful(self, event: SlotEnded) -> bool:
        """Tell whether a job may have died because its agent's time is over, and not by itself."""
        order = event.slot.order
        dying = order is not None and order.verdict is None and was_told_to_go(event.status)
        return dying and self._patience > 0 and not self._holdings.draining

    def _end(self, event: SlotEnded, now: float) -> None:
        self._settler.slot_ended(event, now)
        self._sweeper.ended(event.slot, now)
        self._templates.release(event.slot)

    def _idle_slot(self, template: TemplateHandle, isolation: Isolation) -> SlotHandle | None:
        return max(
            _idle(template, isolation), key=lambda slot: (slot.used, slot.since), default=None
        )

    def _fork_ahead(self, now: float) -> None:
        """Keep a slot ready for each job that could start now, one fork at a time."""
        if self._last is None or self._holdings.draining:
            return
        template, isolation = self._last
        idle = list(_idle(template, isolation))
        wanted = self._holdings.room.slots
        if isolation is Isolation.PROCESS:
            wanted = max(wanted, 1)
        if template.ready and len(idle) < wanted and all(slot.pid for slot in idle):
            self._templates.fork(template)
        self._trim(template, now)

    def _trim(self, last: TemplateHandle, now: float) -> None:
        """Let idle slots of other templates go when there are more than the agent can have busy."""
        others = [t for t in self._templates if t is not last]
        idle = [slot for t in others for slot in _idle(t, Isolation.SLOT)]
        idle.sort(key=lambda slot: slot.since)
        for slot in idle[: max(0, len(idle) - self._holdings.total.slots)]:
            self._templates.quit(slot, now)

    def _quit_one(self, now: float) -> None:
        idle = [slot for t in self._templates for slot in _idle(t, Isolation.SLOT)]
        if idle:
            self._templates.quit(min(idle, key=lambda slot: slot.since), now)


def _idle(template: TemplateHandle, isolation: Isolation) -> Iterator[SlotHandle]:
    """Yield the slots of a template that can take an order."""
    for slot in template.slots.values():
        free = slot.order is None and not slot.leaving and not slot.line.closed
        if free and (isolation is not Isolation.PROCESS or not slot.used):
            yield slot


def key_of(chunk: Chunk) -> TemplateKey:
    """Return the template that a chunk needs."""
    return chunk.epoch, chunk.resources.threads
