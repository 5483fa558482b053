"""End what jobs left running when their slot is gone: its session, and who carries its marker."""

from __future__ import annotations

import logging
import signal

from batchpilot_agent.processes import marked, process_table, send
from batchpilot_agent.settings import Settings

from .handles import SlotHandle


INTERVAL = 1.0
_log = logging.getLogger(__name__)


class Sweeper:
    """Look for leftovers of slots that have ended, one look a second for all of them.

    Args:
        settings: Of the agent whose slots they are.
    """

    def __init__(self, settings: Settings) -> None:
        self._agent = settings.agent
        self._instance = f"BATCHPILOT_INSTANCE={settings.instance}"
        self._markers: set[str] = set()
        self._sessions: set[int] = set()
        self._next = 0.0

    def ended(self, slot: SlotHandle, now: float) -> None:
        """Note that a slot has ended; one that ran nothing has left nothing."""
        if slot.used and slot.pid:
            if not self._sessions:
                self._next = max(self._next, now)
            self._markers.add(f"BATCHPILOT_SLOT={self._agent}:{slot.number}:{slot.serial}")
            self._sessions.add(slot.pid)

    def tick(self, now: float) -> None:
        """Kill the leftovers, if there can be any."""
        if not self._sessions or now < self._next:
            return
        self._next = now + INTERVAL
        left = {p for p, process in process_table().items() if process.session in self._sessions}
        left |= marked([self._instance], self._markers)
        if left:
            _log.info("ending %d processes that jobs left running", len(left))
            send(signal.SIGKILL, left)
        self._sessions.clear()
        self._markers.clear()
