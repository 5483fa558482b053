"""What the soak does to a registry's processes: end or freeze any of them, at random."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.end_to_end.failures.tools import (
    access_of,
    coordinator_pid,
    started_by,
    supervisor_pid,
)

import batchpilot as bp
from batchpilot import control


BUSY = 20.0
"""Seconds for which a coordinator is frozen at most: a session waits 30 s for its locks."""


@dataclass
class Chaos:
    """Break things.

    Attributes:
        registry: Whose.
        moments: Source of all that is random.
        longest: Seconds for which things are frozen at most.
        done: How often each thing was done.
        thaws: Those who wake what is frozen, in threads of their own: a session may wait meanwhile.
    """

    registry: bp.Registry
    moments: random.Random
    longest: float
    done: dict[str, int] = field(default_factory=dict)
    thaws: list[threading.Timer] = field(default_factory=list)

    def strike(self) -> str:
        """Break one thing; return what, "" where there was nothing to be broken."""
        act = self.moments.choice(self._acts())
        name = act.__name__.strip("_")
        with suppress(ProcessLookupError, psutil.NoSuchProcess, AssertionError):
            if act():
                self.done[name] = self.done.get(name, 0) + 1
                return name
        return ""

    def wake(self) -> None:
        """Let all go on that is frozen."""
        for timer in self.thaws:
            if timer.is_alive():
                timer.cancel()
                timer.function(*timer.args)

    def _acts(self) -> tuple[Callable[[], bool], ...]:
        return (
            self._kill_slot, self._kill_slot, self._kill_agent, self._kill_keeper,
            self._kill_coordinator, self._kill_supervisor, self._kill_broker, self._lose_broker,
            self._freeze_agent, self._freeze_coordinator, self._freeze_broker,
            self._kill_supervisor_and_coordinator,
        )  # fmt: skip

    def _agent(self) -> dict[str, object] | None:
        agents = control.agents(self.registry.paths)
        return self.moments.choice(agents) if agents else None

    def _kill_slot(self) -> bool:
        agent = self._agent()
        if agent is None:
            return False
        pilot = int(str(agent["pid"]))
        slots = [p for p in started_by(str(agent["id"])) if p.pid != pilot]
        if not slots:
            return False
        self.moments.choice(slots).kill()
        return True

    def _kill_agent(self) -> bool:
        agent = self._agent()
        return agent is not None and _kill(int(str(agent["pid"])))

    def _kill_keeper(self) -> bool:
        agent = self._agent()
        return agent is not None and _kill(psutil.Process(int(str(agent["pid"]))).ppid())

    def _kill_coordinator(self) -> bool:
        return _kill(coordinator_pid(self.registry))

    def _kill_supervisor(self) -> bool:
        return _kill(supervisor_pid(self.registry))

    def _kill_supervisor_and_coordinator(self) -> bool:
        return _kill(supervisor_pid(self.registry), coordinator_pid(self.registry))

    def _kill_broker(self) -> bool:
        return _kill(access_of(self.registry).pid)

    def _lose_broker(self) -> bool:
        access = access_of(self.registry)
        os.kill(access.pid, signal.SIGSTOP)  # so that no other one is started in what is deleted
        shutil.rmtree(Path(access.log).parent, ignore_errors=True)
        return _kill(access.pid)

    def _freeze_agent(self) -> bool:
        agent = self._agent()
        if agent is None:
            return False
        pids = [int(str(agent["pid"])), *(p.pid for p in started_by(str(agent["id"])))]
        return self._freeze(*pids)

    def _freeze_coordinator(self) -> bool:
        return self._freeze(coordinator_pid(self.registry), longest=BUSY)

    def _freeze_broker(self) -> bool:
        return self._freeze(access_of(self.registry).pid)

    def _freeze(self, *pids: int, longest: float = math.inf) -> bool:
        if not all(pids):
            return False
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        seconds = min(self.moments.choice([0.5, 3.0, 8.0, self.longest]), longest)
        self.thaws.append(threading.Timer(seconds, _continue, pids))
        self.thaws[-1].start()
        return True


def _continue(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _kill(*pids: int) -> bool:
    if not all(pid > 1 for pid in pids):
        return False
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return True
