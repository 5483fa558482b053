"""Beat every 5 s: the lease of all the agent holds; and learn whether there is a reason to go.

Such as these, each of which a timeout or a look at the registry tells:

    no coordinator for `orphan_timeout`        it leaves
    no work for `idle_timeout`                 it leaves; what counts is time with a coordinator
    no coordinator, and another broker named   it goes there
    the registry is gone, or another instance  it ends at once
"""

from __future__ import annotations

from batchpilot_agent.settings import Exit, Settings
from batchpilot_broker.errors import BrokerUnavailable, StorageError
from batchpilot_broker.files import read_json
from batchpilot_broker.nouns import AgentState

from .holdings import Holdings
from .leaver import Leaver
from .link import Link


INTERVAL = 5.0
MOST_MISSES = 3


class Beater:
    """Renew the lease and keep the timeouts.

    Args:
        settings: The timeouts.
        holdings: What the agent holds.
        link: The broker.
        leaver: Lets the agent go.
        now: When it begins.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        holdings: Holdings,
        link: Link,
        leaver: Leaver,
        now: float,
    ) -> None:
        self._settings = settings
        self._holdings = holdings
        self._link = link
        self._leaver = leaver
        self._next = now
        self._last = now
        self._coordinated = now
        self._alive = False
        self._idle = 0.0
        self._misses = 0

    def tick(self, now: float) -> None:
        """Beat if it is time to, and look whether it is time to go."""
        self._count_idle(now)
        if now >= self._next:
            self._next = now + INTERVAL
            self._look_at_registry()
            self._alive = False
            self._beat(now)
        if now - self._coordinated > self._settings.orphan_timeout:
            code = Exit.LEFT if self._link.broker is not None else Exit.BROKER_GONE
            self._leaver.leave("orphaned", now, code=code)
        elif self._idle > self._settings.idle_timeout:
            self._leaver.leave("idle", now)

    def _beat(self, now: float) -> None:
        broker = self._link.broker
        if broker is None:
            return
        works = self._holdings.works
        beat = broker.beat(
            self._settings.agent, self._state(), len(self._holdings.busy), len(works)
        )
        self._alive = beat.coordinator_alive
        if self._alive:
            self._coordinated = now
        elif broker.replaced(self._settings.paths):
            raise BrokerUnavailable(
                "this broker serves the registry no more", remedy="open it anew"
            )
        else:
            self._link.trusted = True  # there is nobody to bid it welcome
        if not beat.known or beat.generation != self._link.generation:
            self._link.announce(beat.generation)

    def _state(self) -> AgentState:
        if self._holdings.draining:
            return AgentState.DRAINING
        return AgentState.BUSY if self._holdings.works else AgentState.IDLE

    def _count_idle(self, now: float) -> None:
        passed, self._last = now - self._last, now
        if self._holdings.works:
            self._idle = 0.0
        elif self._alive:  # whatever there was to claim would be here by now
            self._idle += passed

    def _look_at_registry(self) -> None:
        paths = self._settings.paths
        try:
            owner = read_json(paths.owner)
        except StorageError:
            owner = None
        if owner is not None and owner.get("instance") == self._settings.instance:
            self._misses = 0
            return
        self._misses += 1
        if owner is not None or not paths.root.is_dir() or self._misses >= MOST_MISSES:
            self._leaver.abandon("the registry is gone, or another one is in its place")
