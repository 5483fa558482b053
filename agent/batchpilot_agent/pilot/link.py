"""The agent's connection to the broker: opened, lost, opened again; jobs run on meanwhile.

After each opening, and when a broker turns out to be a new generation or not to know the agent,
the agent registers and says hello with the chunks it holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from batchpilot_broker.errors import BrokerError, StorageError
from batchpilot_broker.nouns import AgentInfo

from .holdings import Holdings
from .jitter import drawn, spread
from .poller import Poller
from .ports import BrokerPort, Opener


SHORTEST = 0.2
LONGEST = 5.0
_log = logging.getLogger(__name__)


class Link:
    """Keep the connection to the broker.

    Args:
        info: What the agent says of itself.
        holdings: What it holds.
        poller: Wakes the pilot when something is heard.
        opener: Opens the broker.
        begin: When it is opened first.
        draw: Draws numbers in [0, 1) by which pauses differ from those of other agents.
        trusted: Whether nobody has to confirm that the agent sees the coordinator's registry.

    Attributes:
        broker: The broker, None while there is none.
        generation: Generation that the agent has said hello to.
        trusted: Whether the agent may claim; else it waits for the coordinator's welcome.
    """

    def __init__(  # noqa: PLR0913 - what it works with, and what tests hand in
        self,
        *,
        info: AgentInfo,
        holdings: Holdings,
        poller: Poller,
        opener: Opener,
        begin: float = 0.0,
        draw: Callable[[], float] = drawn,
        trusted: bool = True,
    ) -> None:
        self._info = info
        self._holdings = holdings
        self._poller = poller
        self._opener = opener
        self._pause = SHORTEST
        self._retry = begin
        self._draw = draw
        self.trusted = trusted
        self._fd: int | None = None
        self._bells: tuple[str, ...] | None = None
        self.broker: BrokerPort | None = None
        self.generation = 0
        self._ready = False

    def tick(self, now: float) -> None:
        """Open the broker if there is none and it is time to try again."""
        if self.broker is not None or now < self._retry:
            return
        try:
            self.broker = self._opener()
            self.announce(self.broker.generation)
        except (BrokerError, StorageError) as error:
            self.lost(error, now)
            return
        self._pause = SHORTEST
        _log.info("at the broker, generation %d", self.generation)

    def lost(self, error: Exception, now: float) -> None:
        """Let go of a broker that fails, and try again after a pause that grows."""
        _log.warning("no broker: %s", error)
        self._forget()
        if self.broker is not None:
            self.broker.close()
        self.broker = None
        self._retry = now + spread(self._pause, self._draw())
        self._pause = min(2 * self._pause, LONGEST)

    def announce(self, generation: int) -> None:
        """Register, and say hello with all that the agent holds."""
        if self.broker is None:
            return
        held = sorted(self._holdings.works)
        self.broker.register(self._info)
        if self.generation and generation != self.generation:
            self.broker.hold(self._info.id, held)
        self.broker.send("hello", agent=self._info.id, generation=generation, held=held)
        for _, order in self._holdings.orders():
            order.told = ()
        self.generation = generation

    def tell_deadline(self, deadline: float) -> None:
        """Say when the allocation ends, which was not known when the agent registered."""
        self._info = replace(self._info, deadline=deadline)
        self.announce(self.generation)

    def listen(self, bells: tuple[str, ...]) -> None:
        """Wait for control messages and some bells, if that is not what is waited for already."""
        if self.broker is None or bells == self._bells:
            return
        self._forget()
        self.broker.listen(self._info.id, bells)
        self._bells = bells
        self._fd = self.broker.fileno()
        if self._fd is not None:
            self._poller.watch(self._fd, self._hear)

    def close(self) -> None:
        """Let go of the broker for good."""
        self._forget()
        if self.broker is not None:
            self.broker.close()
        self.broker = None

    def _hear(self) -> None:
        self._ready = True

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that came."""
        if not self._ready or self.broker is None:
            return []
        self._ready = False
        messages = self.broker.receive()
        if messages:
            self._forget()
        return messages

    def _forget(self) -> None:
        if self._fd is not None:
            self._poller.forget(self._fd)
        self._fd = self._bells = None
