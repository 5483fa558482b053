"""Watch: take a snapshot every few seconds, keep the totals in the registry, and answer scrapes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from batchpilot.coordinator.desk import Desk
from batchpilot.coordinator.happenings import BrokerChanged, Happening
from batchpilot.errors import BatchpilotError, BrokerError, DefinitionError
from batchpilot.monitoring import MetricsSettings
from batchpilot.status import Status
from batchpilot.store.owner import Office, read_owner
from batchpilot_broker.coordside import Backlog, BrokerStatus
from batchpilot_broker.host import host_name

from .catalogue import BROKER_ROUNDTRIP
from .counting import Counting
from .exposition import CONTENT_TYPE, Exposed, Exposition
from .health import Check, Pulse, answer, beat_check
from .outcomes import OutcomeCounter
from .serving import MetricsServer, Page, Site
from .sizes import SizeWatch
from .snapshot import Places, Snapshot, count_agents, count_waiting
from .targets import remove_targets, write_targets
from .totals import Totals


SNAPSHOT_EVERY = 5.0
CATCH_UP_EVERY = 0.2
_KEY = "watching"
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened at

_log = logging.getLogger("batchpilot.coordinator")


class Watcher:
    """Watch a registry for Prometheus.

    Args:
        desk: What the duties share.
        office: The ownership; its heartbeat shows that the registry can be written.
        count: Counts the jobs by state.
        wanted: Agents that each pool should have; followed as it changes.
    """

    def __init__(
        self,
        desk: Desk,
        office: Office,
        count: Callable[[], Status],
        wanted: Mapping[str, int],
    ) -> None:
        self._desk = desk
        self._office = office
        self._count = count
        self._wanted = wanted
        self._broker_up = True
        self._next = 0.0
        self._kept = self._url = ""
        self._server: MetricsServer | None = None
        self._totals = self._restored()
        self._outcomes = OutcomeCounter(self._totals)
        self._counting = Counting(self._totals, self._places)
        self._snapshot = Snapshot()
        self._shown = self._totals.copy()
        self._sizes = SizeWatch(desk.paths)
        self.pulse = Pulse()

    def __call__(self, happening: Happening) -> None:
        """Count a happening."""
        if isinstance(happening, BrokerChanged):
            self._broker_up = happening.up
            if not happening.up:
                self._snapshot = replace(
                    self._snapshot, broker=BrokerStatus(up=False), backlog=None
                )
        self._counting(happening)

    @property
    def exposed(self) -> Exposed:
        """Return what a scrape shows now."""
        return Exposed(snapshot=self._snapshot, totals=self._shown, sizes=self._sizes.sizes)

    def serve(self, settings: MetricsSettings) -> str:
        """Answer scrapes; return the address, "" where it cannot be done: work goes on then."""
        try:
            token, tls = settings.token(), settings.tls()
        except DefinitionError as error:
            _log.error("metrics are not shown: %s", error)
            return ""
        exposition = Exposition(self._office.owner.id, lambda: self.exposed)
        pages = {
            "/metrics": lambda: Page(200, exposition.text(), CONTENT_TYPE),
            "/healthz": lambda: _health([self.pulse.check()]),
            "/readyz": lambda: _health(self._readiness()),
        }
        site = Site(pages=pages, guarded=frozenset(["/metrics"]), token=token)
        self._server = _listening(settings, lambda h, p: MetricsServer(h, p, site, tls=tls))
        if self._server is None:
            return ""
        self._server.start()
        self._sizes.start()
        return self._announce(settings.address[0], "https" if tls else "http")

    def tick(self, now: float) -> None:
        """Take a snapshot when it is time; keep what it shows before it is shown."""
        self.pulse.turn()
        if now < self._next:
            return
        with self._desk.db.read() as tx:
            behind = self._outcomes.step(tx)
        self._counting.begin()
        snapshot = self._look(now)
        self._keep()
        self._snapshot, self._shown = snapshot, self._totals.copy()
        self._next = now + (CATCH_UP_EVERY if behind else SNAPSHOT_EVERY)

    def close(self) -> None:
        """Answer no more and tell Prometheus so."""
        self._sizes.stop()
        if self._server is not None:
            self._server.stop()
            remove_targets(self._desk.paths.targets, self._url)

    def _restored(self) -> Totals:
        with self._desk.db.read() as tx:
            self._kept = tx.meta(_KEY) or ""
        return Totals.of(json.loads(self._kept) if self._kept else {})

    def _keep(self) -> None:
        record = json.dumps(self._totals.record(), separators=(",", ":"))
        if record != self._kept:
            with self._desk.db.write() as tx:
                tx.set_meta(_KEY, record)
            self._kept = record

    def _look(self, now: float) -> Snapshot:
        place = self._places()
        broker, backlog = self._ask_broker()
        with self._desk.db.read() as tx:
            agents = count_agents(tx, place)
            waiting = count_waiting(tx, self._totals)
        return Snapshot(
            at=now,
            term=self._desk.term,
            status=self._count(),
            waiting=waiting,
            agents=agents.agents,
            slots=agents.slots,
            wanted={place(pool): number for pool, number in self._wanted.items()},
            broker=broker,
            backlog=backlog,
        )

    def _ask_broker(self) -> tuple[BrokerStatus, Backlog | None]:
        if not self._broker_up:
            return BrokerStatus(up=False), None
        status = self._desk.broker.status()
        if not status.up:
            return status, None
        self._totals.observe(BROKER_ROUNDTRIP, (), np.array([status.roundtrip_seconds]))
        try:
            return status, self._desk.broker.backlog()
        except BrokerError as error:
            _log.info("the broker went away while it was asked: %s", error)
            return BrokerStatus(up=False), None

    def _places(self) -> Places:
        return Places(self._desk.pools, self._totals)

    def _readiness(self) -> list[Check]:
        return [
            self.pulse.check(),
            self._office_check(),
            beat_check(self._office.owner.heartbeat),
            Check("broker", self._broker_up and self._snapshot.broker.up),
        ]

    def _office_check(self) -> Check:
        try:
            owner = read_owner(self._desk.paths)
        except BatchpilotError as error:
            return Check("office", ok=False, text=str(error))
        ours = (owner.term, owner.pid) == (self._office.owner.term, self._office.owner.pid)
        return Check("office", ours, f"term {owner.term}")

    def _announce(self, host: str, scheme: str) -> str:
        port = self._server.server_port if self._server else 0
        shown = host_name() if host in _ANYWHERE else host
        address = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
        self._url = f"{scheme}://{address}"
        write_targets(self._desk.paths.targets, self._url)
        return address if scheme == "http" else self._url


def _health(checks: list[Check]) -> Page:
    ok, text = answer(checks)
    return Page(200 if ok else 503, text.encode())


def _listening(
    settings: MetricsSettings, listen: Callable[[str, int], MetricsServer]
) -> MetricsServer | None:
    """Return a server at the address wanted, at another port of the host, or none."""
    host, port = settings.address
    for choice in dict.fromkeys((port, 0)):
        try:
            return listen(host, choice)
        except OSError as error:
            _log.error("cannot listen at %s:%d: %s", host, choice, error)
    return None
