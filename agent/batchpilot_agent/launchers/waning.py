"""A second look at what has vanished: batch systems forget what has ended, and are slow to learn.

An element that its batch system does not know is unknown at the first look, and ended at the
second; a query that failed is no look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .nouns import ElementState, ElementStatus, Launcher


VANISHED = "the batch system does not know it any more"


@dataclass(slots=True)
class SecondLook:
    """Ask a launcher for states, and believe that something vanished when it is missed twice."""

    launcher: Launcher
    _missed: set[str] = field(default_factory=set)

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Return the status of every one of these elements.

        Raises:
            LaunchError: The batch system did not answer; nothing is known and nothing changed.
        """
        found = self.launcher.states(ids)
        missing = {id_ for id_, status in found.items() if not status.known}
        gone = missing & self._missed
        self._missed = (self._missed - found.keys()) | missing
        ended = ElementStatus(state=ElementState.ENDED, reason=VANISHED, known=False)
        return found | dict.fromkeys(sorted(gone), ended)
