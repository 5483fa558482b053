"""When the allocation of this agent ends: as it was told at its start, else as it asks once.

The batch system is asked beside the pilot's loop and behind the first claim: it may be slow, or
silent. What it says goes to the coordinator; where it says nothing the agent works on without an
end, until it is told to go.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchpilot_agent.settings import Settings

from .link import Link


if TYPE_CHECKING:
    from batchpilot_agent.launchers.inside import Remaining

PATIENCE = 30.0
_log = logging.getLogger(__name__)

Ask = Callable[[], "Remaining"]
"""Asks the batch system when this job ends, and takes its time."""


class Walltime:
    """Know the end of the allocation.

    Args:
        settings: What is known of it.
        link: The broker, to whom is said what becomes known.
        ask: Asks for it; None where there is nobody to ask.
        wall: Unix time.

    Attributes:
        ends: Unix time of the end, 0 while none is known.
    """

    def __init__(
        self, settings: Settings, link: Link, ask: Ask | None, wall: Callable[[], float]
    ) -> None:
        self.ends = settings.deadline
        self._link = link
        self._ask = None if settings.deadline else ask
        self._wall = wall
        self._asking: threading.Thread | None = None
        self._said: Remaining | None = None

    @property
    def left(self) -> float:
        """Return the seconds until the end, infinite while none is known."""
        return self.ends - self._wall() if self.ends else math.inf

    def tick(self, _now: float) -> None:
        """Ask once the broker is there, and take the answer when it has come."""
        if self._ask is None or self._link.broker is None:
            return
        if self._asking is None:
            self._asking = threading.Thread(target=self._listen, args=(self._ask,), daemon=True)
            self._asking.start()
        elif not self._asking.is_alive():
            self._ask = None
            self._learn()

    def _listen(self, ask: Ask) -> None:
        self._said = ask()

    def _learn(self) -> None:
        if self._said is None or not self._said.ends:
            words = self._said.words if self._said else "see above"
            _log.warning("nobody tells when this allocation ends: %s", words)
            return
        self.ends = self._said.ends
        _log.info("the batch system lets this allocation end in %.0f s", self.left)
        self._link.tell_deadline(self.ends)


def asker(settings: Settings, wall: Callable[[], float]) -> Ask | None:
    """Return what asks the batch system that runs this agent, None where there is none."""
    if not settings.scheduler_id:
        return None
    environment = dict(os.environ)

    def ask() -> Remaining:
        from batchpilot_agent.launchers.inside import (  # noqa: PLC0415 - few agents have to ask
            ask_end,
        )
        from batchpilot_agent.launchers.running import Runner  # noqa: PLC0415 - as above

        run = Runner(patience=PATIENCE)
        return ask_end(environment, settings.scheduler_id, run, now=wall(), began=settings.began)

    return ask
