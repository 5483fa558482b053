"""Tell the coordinator what is new: at once when a chunk has ended, else every 0.1 s.

Reports are hints, the segment is the truth: a report that fails is sent again, and what is told
twice is dropped by its position. A chunk is finished at the broker only after its last row was
reported.
"""

from __future__ import annotations

import logging

from batchpilot_broker.nouns import Report

from .ledger import Ledger
from .link import Link
from .ports import BrokerPort
from .tail import SegmentTail, Stretch
from .watch import Watch


INTERVAL = 0.1
STALLED = 2.0
_log = logging.getLogger(__name__)


class Reporter:
    """Report the agent's result segment.

    Args:
        agent: The agent.
        segment: Name of its result segment.
        tail: Reads it.
        ledger: Knows the chunks that have ended.
        watch: Knows the jobs that run.
        link: The broker.
        remote: Whether the segment is on a network file system, to be synced before it is told.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        *,
        agent: str,
        segment: str,
        tail: SegmentTail,
        ledger: Ledger,
        watch: Watch,
        link: Link,
        remote: bool,
    ) -> None:
        self._agent = agent
        self._segment = segment
        self._tail = tail
        self._ledger = ledger
        self._watch = watch
        self._link = link
        self._remote = remote
        self._unsent: Stretch | None = None
        self._next = 0.0
        self._stuck = (-1, 0.0, 0)  # position, since when, size of the file

    @property
    def settled(self) -> bool:
        """Tell whether the broker has heard of all that is written."""
        return (
            self._unsent is None
            and not self._ledger.finished
            and self._tail.position == self._tail.size
        )

    def tick(self, now: float) -> None:
        """Report what is new, if it is time to."""
        broker = self._link.broker
        if broker is None or (now < self._next and not self._ledger.finished):
            return
        self._next = now + INTERVAL
        self._report_all(broker, now)
        while self._ledger.finished:
            done = self._ledger.finished[0]
            broker.finish(self._agent, done.chunk, jobs=done.jobs, seconds=done.seconds)
            self._ledger.finished.popleft()

    def _report_all(self, broker: BrokerPort, now: float) -> None:
        news, written = self._watch.news(now), self._tail.size
        if self._remote and self._tail.position < written:
            self._tail.sync()
        while (stretch := self._read(now)) is not None or news:
            broker.report(self._report(stretch, tuple(running for _, running in news)))
            self._unsent = None
            for order, (*_, mirror) in news:
                order.told = (order.position, mirror)
            news = []
            if self._tail.position >= written:
                return  # what was written meanwhile is for the next report

    def _read(self, now: float) -> Stretch | None:
        if self._unsent is None:
            self._unsent = self._tail.read() or self._read_stalled(now)
            if self._unsent is not None and self._unsent.gaps:
                _log.error("damaged bytes in %s: %s", self._segment, self._unsent.gaps)
        return self._unsent

    def _read_stalled(self, now: float) -> Stretch | None:
        """Pass over a torn record that claims to be longer than it is, once it has stood there.

        That reads all behind it, so not while a large record is being written, and not each time.
        """
        position, size = self._tail.position, self._tail.size
        stuck, since, before = self._stuck
        if stuck != position or position == size or self._tail.is_under_way(size - before):
            since = now
        stalled = now - since > STALLED
        self._stuck = (position, now if stalled else since, size)
        return self._tail.resync() if stalled else None

    def _report(
        self, stretch: Stretch | None, running: tuple[tuple[int, int, float, int], ...]
    ) -> Report:
        if stretch is None:
            at = self._tail.position
            stretch = Stretch(start=at, end=at, rows=b"", notes=())
        return Report(
            agent=self._agent,
            segment=self._segment,
            start=stretch.start,
            end=stretch.end,
            rows=stretch.rows,
            notes=stretch.notes,
            running=running,
        )
