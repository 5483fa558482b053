"""The coordinator's loop: it puts the duties in order and survives the broker's absence."""

from __future__ import annotations

import json
import logging
import time
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from batchpilot.errors import BrokerError, TermSuperseded
from batchpilot.monitoring import MetricsSettings, chosen
from batchpilot.pools import Local, from_records
from batchpilot.registry.finding import Finding
from batchpilot.seat import relief
from batchpilot.store.database import Database
from batchpilot.store.owner import Office
from batchpilot.store.tombstones import coordinator_segment
from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_broker.coordside import CoordinatorBroker
from batchpilot_broker.events import Event
from batchpilot_broker.journal import LogFormat
from batchpilot_broker.nouns import Report
from batchpilot_broker.paths import RegistryPaths

from .allocator import Allocator
from .answerer import Answerer
from .applier import Applier
from .auditor import Auditor
from .canceller import Canceller
from .clock import SteadyClock
from .copier import Copier
from .desk import Desk
from .dismisser import Dismisser
from .doorkeeper import Doorkeeper
from .feeder import Feeder
from .happenings import (
    BrokerChanged,
    Bus,
    ChunksFed,
    EventsApplied,
    Happening,
    JobsEnded,
    Rejected,
    SchedulerCalled,
)
from .judge import Judge
from .measurer import Measurer
from .releaser import Releaser
from .scaler import Scaler
from .sizing import Sizer
from .watching import Watcher
from .welcomer import Welcomer


LINGER = 600.0
SURVEY_EVERY = 0.25
CALM_EVERY = 1.0
COALESCE = 0.2
RECORD_EVERY = 5.0
MUCH_WORK = 2.0
FINISH, FINISH_SEATED = 10.0, 2.0
"""Seconds that submissions under way get at the end; supervisors wait for 20, in a seat 5."""
RETRY_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)

_log = logging.getLogger("batchpilot.coordinator")


class Coordinator:
    """Hold the office and run the duties until there is nothing to do, or it is told to stop.

    Args:
        paths: The registry's files.
        linger: Seconds to stay after the last unfinished job.
        given: Options of the command line that go before what the registry keeps.
        seat: Allocation of a batch system in which it runs, "" for none.

    Attributes:
        relieved: Whether it leaves because another one takes its place.
    """

    def __init__(
        self,
        paths: RegistryPaths,
        *,
        linger: float = LINGER,
        given: Mapping[str, Any] | None = None,
        seat: str = "",
    ) -> None:
        self._given = given or {}
        self._registry = Finding(paths, database=Database(paths))
        self._office = Office(paths, self._registry.database)
        self._linger = linger
        self._stopping = False
        self._busy_until = 0.0
        self._next_survey = 0.0
        self._next_look_at_record = 0.0
        self._next_look_at_seat = 0.0
        self._relief = relief(paths, seat)
        self._patience_at_end = FINISH_SEATED if seat else FINISH
        self.relieved = False
        self._pulse = 0
        self._clock = SteadyClock()

    def stop(self) -> None:
        """Leave after the current round."""
        self._stopping = True

    def run(self) -> None:
        """Take office, work, leave."""
        self._open()
        try:
            self._begin()
            self._busy_until = self._clock() + self._linger
            while not self._stopping and self._clock() < self._busy_until:
                self._round_or_reconnect()
            self.measurer.back_up()
            self.scaler.finish()
            self.allocator.finish(self._patience_at_end, self._clock())
        finally:
            self.watcher.close()
            self._office.leave()
            self._desk.broker.close()
            self._registry.close()

    def _open(self) -> None:
        """Take office and put the duties at the desk."""
        registry = self._registry
        paths = registry.paths
        term = self._office.take()
        segment = paths.segments / coordinator_segment(term)
        create_segment(segment, segment.stem, registry.instance)
        bus = Bus()
        bus.listen(_say)
        self._desk = Desk(
            paths=paths,
            instance=registry.instance,
            db=registry.database,
            broker=CoordinatorBroker.open(paths, registry.instance),
            term=term,
            bus=bus,
            segment=SegmentWriter(segment),
            segment_name=segment.name,
            seed=registry.seed,
            log_format=self._given.get("log_format") or LogFormat.TEXT,
        )
        sizer = Sizer()
        self.feeder = Feeder(self._desk, sizer)
        self.canceller = Canceller(self._desk)
        self.applier = Applier(self._desk, sizer)
        self.releaser = Releaser(self._desk)
        self.judge = Judge(self._desk, self.applier)
        self.welcomer = Welcomer(self._desk)
        self.dismisser = Dismisser(self._desk)
        self.doorkeeper = Doorkeeper(self._desk)
        self.scaler = Scaler(self._desk)
        self.allocator = Allocator(self._desk, self.judge)
        self.auditor = Auditor(self._desk, self.applier)
        self.copier = Copier(self._desk)
        self.answerer = Answerer(self._desk, self.copier)
        self.measurer = Measurer(self._desk, self._office, now=self._clock())
        wanted = ChainMap(self.scaler.wanted, self.allocator.wanted)
        self.watcher = Watcher(self._desk, self._office, registry.get_status, wanted)
        bus.listen(self.watcher)
        self._office.beat(metrics=self.watcher.serve(self._metrics_settings()))

    def _metrics_settings(self) -> MetricsSettings:
        with self._desk.db.read() as tx:
            kept = tx.meta("metrics")
        return chosen(self._given, json.loads(kept) if kept else {})

    def _begin(self) -> None:
        """Come to know what happened while no coordinator was there."""
        now = self._clock()
        self._desk.broker.take(self._desk.term)
        if self._settle():  # what agents hold is theirs until they had the time to say so
            self.auditor.after_loss(now)
        self._read_pools()
        self.applier.read_tails()
        self.judge.start()
        self.judge.tick(now)
        self.auditor.audit(now, youngest=0.0)
        self.measurer.tick(now)
        self.watcher.tick(now)

    def _round_or_reconnect(self) -> None:
        try:
            self._round()
        except TermSuperseded:
            raise
        except BrokerError as error:
            self._desk.bus.tell(BrokerChanged(up=False, why=str(error)))
            self._reconnect()

    def _round(self) -> None:
        with self._desk.db.read() as tx:
            after = str(tx.meta("stream"))
        started = time.monotonic()
        events = self._desk.broker.read(after, block_ms=self._patience())
        now = self._clock()
        self._hear(events, now)
        self.canceller.tick()
        self.feeder.tick(now)
        if events:
            self.applier.tick(events)
            self._desk.broker.trim(events[-1][0])
            self._next_survey = min(self._next_survey, now + SURVEY_EVERY)
        if self.releaser.tick(now):
            self._next_survey = now  # what was let go is fed at once
        if now >= self._next_survey:
            self._look_around(now)
        self._follow_broker(now)
        self._follow_seat(now)
        self.auditor.tick(now)
        self.copier.tick(now)
        self.measurer.tick(now)
        self.watcher.tick(now)
        if self.measurer.unfinished:
            self._busy_until = now + self._linger
        self._coalesce(started)

    def _follow_broker(self, now: float) -> None:
        """Look now and then whether the user has named another broker."""
        if now >= self._next_look_at_record:
            self._next_look_at_record = now + RECORD_EVERY
            self._desk.broker.check_named(self._desk.paths)

    def _follow_seat(self, now: float) -> None:
        """Look now and then whether to leave to another: no supervisor may be there to do it."""
        if now >= self._next_look_at_seat:
            self._next_look_at_seat = now + RECORD_EVERY
            self.relieved = self._relief()
            self._stopping = self._stopping or self.relieved

    def _look_around(self, now: float) -> None:
        busy = bool(self.measurer.unfinished or self._desk.survey.leases)
        self._next_survey = now + (SURVEY_EVERY if busy else CALM_EVERY)
        self._read_pools()
        self.doorkeeper.tick(now)
        self.judge.tick(now)
        self.welcomer.tick()
        self.dismisser.tick()
        self.scaler.tick(now)
        self.allocator.tick(now)

    def _patience(self) -> int:
        """Return the milliseconds to wait for events."""
        if self.feeder.hungry:
            return 0
        return max(10, int(1000 * (self._next_survey - self._clock())))

    def _coalesce(self, started: float) -> None:
        """While there is much work queued, let events gather for a fifth of a second."""
        if self.feeder.outstanding > MUCH_WORK and not self.feeder.hungry:
            time.sleep(max(0.0, COALESCE - (time.monotonic() - started)))

    def _hear(self, events: list[tuple[str, Event]], now: float) -> None:
        for _, event in events:
            if not isinstance(event, Report):
                self._hear_agent(event, now)
                self._hear_session(event, now)

    def _hear_agent(self, event: dict[str, Any], now: float) -> None:
        if event["kind"] == "hello":
            self.auditor.hello(event["agent"], event["held"])
            self.welcomer.hello(event["agent"])
            self.dismisser.hello(event["agent"])
            self._next_survey = 0.0
        elif event["kind"] == "bye":
            self.applier.read_tails([f"{event['agent']}.results"])
            self.judge.end(event["agent"], "left", now, bye=str(event.get("reason", "")))

    def _hear_session(self, event: dict[str, Any], now: float) -> None:
        if event["kind"] == "nudge":
            self._changed()
        elif event["kind"] == "request":
            self.answerer.answer(event, now)
            self._changed()
        elif event["kind"] == "look":
            self.copier.look(now)
        elif event["kind"] == "rejected":
            self._desk.bus.tell(Rejected(event["why"]))

    def _changed(self) -> None:
        """Look at what a session has changed."""
        self._next_survey = 0.0
        self.measurer.unfinished = self.measurer.count_unfinished()

    def _read_pools(self) -> None:
        with self._desk.db.read() as tx:
            stored = tx.meta("pools")
        self._desk.pools = from_records(json.loads(stored)) if stored else [Local()]

    def _reconnect(self) -> None:
        """Wait for the broker; where it has lost its data, feed again what was queued."""
        self._pulse = max(self._pulse, self._desk.broker.pulse)
        self._desk.broker.close()
        attempt = 0
        while not self._stopping:
            try:
                self._desk.broker = CoordinatorBroker.open(self._desk.paths, self._desk.instance)
                self._desk.broker.take(self._desk.term)
                break
            except TermSuperseded:
                raise
            except BrokerError:
                time.sleep(RETRY_PAUSES[min(attempt, len(RETRY_PAUSES) - 1)])
                attempt += 1
                self._office.beat()
                self.watcher.tick(self._clock())
                self._follow_seat(self._clock())
        else:
            return
        self._desk.bus.tell(BrokerChanged(up=True))
        self._come_back(self._clock())

    def _come_back(self, now: float) -> None:
        self.judge.restart_watch()
        self._settle()
        # A broker that was killed may have lost its last second, too little to be known by it.
        self.feeder.forget_broker()
        self.auditor.after_loss(now)

    def _settle(self) -> bool:
        """Where the broker has lost its data, or has those of long ago, fill it again.

        Returns:
            Whether it has.
        """
        with self._desk.db.read() as tx:
            known = int(tx.meta("generation", 0))
        generation = self._desk.broker.settle_generation(known, pulse=self._pulse)
        if generation == known:
            return False
        self._pulse = 0
        self._desk.broker.take(self._desk.term)
        with self._desk.db.write() as tx:
            tx.set_meta("generation", generation)
            tx.set_meta("stream", "0")
        return known > 0


def _say(happening: Happening) -> None:
    """Log what is rare; what comes with every chunk or call is for the metrics."""
    called = isinstance(happening, SchedulerCalled) and happening.ok
    if not (called or isinstance(happening, ChunksFed | JobsEnded | EventsApplied)):
        agent = getattr(happening, "agent", None)
        _log.info("%s", happening, extra={"agent": agent} if agent else None)
