"""Batch systems as the coordinator calls them: beside its loop, and one thing at a time at each.

Whatever goes wrong in a call is an answer as well: that of a launcher with the batch system's
words, and anything else that nobody has thought of with its own, and its traceback in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchpilot_agent.errors import LaunchError, LaunchPostponed
from batchpilot_agent.launchers.nouns import Launcher, Submitted
from batchpilot_agent.launchers.waning import SecondLook
from batchpilot_broker.errors import BatchpilotError
from batchpilot_broker.paths import RegistryPaths

from .desk import Desk
from .errands import Errand, Stopwatch
from .happenings import SchedulerCalled


Then = Callable[[Any, float], None]
"""Takes what came of a call, a LaunchError where it failed, and the time."""

_log = logging.getLogger("batchpilot.coordinator")


@dataclass(frozen=True, slots=True)
class _Call:
    """Hold a call that is under way: which command, how it goes, and what is done then."""

    command: str
    watch: Stopwatch
    errand: Errand
    then: Then


@dataclass(slots=True)
class System:
    """Hold what is under way at one batch system, when it was asked and how it has answered.

    Attributes:
        launcher: Asks it.
        look: Asks it for states, and believes only twice that something vanished.
        looked: When it was last asked for states.
        unanswered: How often in a row it did not tell them.
        cancel_at: Before when it is not to be asked to cancel.
        uncancelled: How often in a row it did not do that.
    """

    launcher: Launcher
    look: SecondLook
    looked: float | None = None
    unanswered: int = 0
    cancel_at: float = 0.0
    uncancelled: int = 0
    call: _Call | None = None

    @property
    def busy(self) -> bool:
        """Tell whether a call is under way."""
        return self.call is not None


class Systems:
    """Call batch systems, each known by the kind of its pools.

    Args:
        desk: What the duties share.
        launcher: Gives the launcher of a kind of pool.
        errand: Does something beside the loop.
    """

    def __init__(
        self,
        desk: Desk,
        launcher: Callable[[str, RegistryPaths], Launcher],
        errand: Callable[[Callable[[], Any]], Errand],
    ) -> None:
        self._desk = desk
        self._launcher = launcher
        self._errand = errand
        self._systems: dict[str, System] = {}

    def of(self, kind: str) -> System:
        """Return the batch system of a kind of pool."""
        system = self._systems.get(kind)
        if system is None:
            launcher = self._launcher(kind, self._desk.paths)
            system = self._systems[kind] = System(launcher, SecondLook(launcher))
        return system

    def send(self, system: System, command: str, job: Callable[[], Any], then: Then) -> None:
        """Begin a call; there must be none under way."""
        watch = Stopwatch(job)
        system.call = _Call(command, watch, self._errand(watch), then)

    def collect(self, now: float) -> None:
        """Take in what came of calls."""
        for kind, system in self._systems.items():
            self._collect(kind, system, now)

    def finish(self, patience: float, now: float) -> None:
        """Wait a while for submissions under way: nobody else is told what came of them."""
        end = time.monotonic() + patience
        for kind, system in self._systems.items():
            if system.call is not None and system.call.command == "submit":
                system.call.errand.wait(max(0.0, end - time.monotonic()))
                self._collect(kind, system, now)

    def _collect(self, kind: str, system: System, now: float) -> None:
        call = system.call
        if call is None or not call.errand.done:
            return
        system.call = None
        result = _result_of(kind, call)
        ok = not isinstance(result, LaunchError) and not _is_short(result)
        self._desk.bus.tell(SchedulerCalled(kind.lower(), call.command, call.watch.seconds, ok=ok))
        call.then(result, now)


def _result_of(kind: str, call: _Call) -> Any:
    try:
        return call.errand.result()
    except LaunchError as error:
        return error
    except BatchpilotError as error:  # of the disk, where a script could not be kept
        return LaunchPostponed(str(error))
    except Exception as error:  # noqa: BLE001 - it troubles a pool, and ends no coordinator
        _log.exception("%s: %s failed", kind, call.command)
        return LaunchPostponed(f"{type(error).__name__}: {error}")


def _is_short(result: Any) -> bool:
    return isinstance(result, Submitted) and bool(result.shortfall)
