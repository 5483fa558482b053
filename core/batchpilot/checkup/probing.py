"""Send a probe where agents would run, exactly as they are sent, and tell what it finds there.

    submitted -> begun (or never: the batch system's words) -> report (or none: its own last words)

Whatever comes of it, it is cancelled at the end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from batchpilot import control
from batchpilot.durations import duration
from batchpilot.pools import Local, RemotePool, from_records
from batchpilot.requesting import PROBE_SECONDS, launcher_of, new_allocation, probe_request
from batchpilot.store.owner import read_owner
from batchpilot_agent.errors import LaunchError
from batchpilot_agent.launchers.keeping import make_place
from batchpilot_agent.launchers.nouns import ElementState, Launcher
from batchpilot_agent.launchers.waning import SecondLook
from batchpilot_broker.access import read_access
from batchpilot_broker.errors import BatchpilotError, BrokerUnavailable
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import on_network
from batchpilot_broker.network import chosen_addresses, tcp_places
from batchpilot_broker.paths import RegistryPaths

from .finding import Finding, bad, note, ok
from .nodes import check_report


PATIENCE = 120.0
OPENING, BRIEFLY = 20.0, 3.0
"""Seconds in which the coordinator has opened the broker to other hosts; where it hardly can."""

LOOKS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses between two questions to the batch system."""

SHOWN_LINES = 5
_POLL = 0.1


@dataclass(slots=True, kw_only=True)
class _Course:
    """Hold how it goes with a probe.

    Attributes:
        queued: Seconds until it began, None while it has not.
        answered: Seconds until its report was there, None while it is not.
        report: What it has found.
        running: Seconds until the batch system was seen to run it, None while it does not.
        words: What that said last.
        mourned: When it was seen to have ended without a report.
    """

    queued: float | None = None
    answered: float | None = None
    report: dict[str, Any] = field(default_factory=dict)
    running: float | None = None
    words: str = ""
    mourned: float | None = None

    @property
    def begun(self) -> bool:
        """Tell whether it has left the queue, by its own word or the batch system's."""
        return self.queued is not None or self.running is not None


class Probe:
    """Send a probe, wait for what it finds, and end it.

    Args:
        paths: The registry.
        pool: Where it is to run.
        launcher: Submits it.
    """

    def __init__(self, paths: RegistryPaths, pool: RemotePool, launcher: Launcher) -> None:
        self._paths = paths
        self._pool = pool
        self._launcher = launcher
        self._look = SecondLook(launcher)
        self.allocation = new_allocation()
        self._nonce = secrets.token_hex(8)
        self._sent = 0.0
        self.id = ""

    def submit(self) -> None:
        """Submit it.

        Raises:
            LaunchError: It is refused.
        """
        make_place(self._paths.allocation(self.allocation))
        write_json(self._paths.probe(self.allocation, "asked"), {"nonce": self._nonce})
        request = probe_request(self._pool, self._paths, self.allocation)
        self._sent = time.monotonic()
        (self.id,) = self._launcher.submit(request).elements

    def course(self, patience: float) -> _Course:
        """Wait until it has answered, ended, or not begun for so long."""
        course = _Course()
        looks = iter(LOOKS)
        next_look = next(looks)
        while not self._over(course, patience):
            if self._seconds() >= next_look:
                self._ask(course)
                next_look = self._seconds() + next(looks, LOOKS[-1])
            time.sleep(_POLL)
        if not course.begun and course.mourned is None:
            self._ask(course)  # for what keeps it now
        return course

    def cancel(self) -> str:
        """End it; return what the batch system says if it refuses."""
        try:
            self._launcher.cancel([], [self.id])
        except LaunchError as error:
            return str(error)
        return ""

    def last_words(self) -> str:
        """Return the last lines that it wrote."""
        outputs = self._paths.allocation(self.allocation).glob("*.out")
        lines = [line for path in outputs for line in path.read_text(errors="replace").split("\n")]
        return " / ".join([line.strip() for line in lines if line.strip()][-SHOWN_LINES:])

    def _seconds(self) -> float:
        return time.monotonic() - self._sent

    def _over(self, course: _Course, patience: float) -> bool:
        """Take in what the probe has written; tell whether there is nothing to wait for."""
        now = self._seconds()
        if course.queued is None and self._wrote("begun"):
            course.queued = now
        report = self._wrote("report")
        if report:
            course.report, course.answered = report, now
            return True
        if course.mourned is not None:
            return now - course.mourned > self._latency()
        if course.begun:
            since = course.queued if course.running is None else course.running
            return now - (since or 0.0) > PROBE_SECONDS + self._latency()
        return now > patience

    def _wrote(self, what: str) -> dict[str, Any]:
        """Return what the probe itself has written; nothing where it has not."""
        found = read_json(self._paths.probe(self.allocation, what)) or {}
        return found if found.get("nonce") == self._nonce else {}

    def _latency(self) -> float:
        """Return how long what has been written on a node may not be seen here."""
        return 30.0 if on_network(self._paths.root) else 1.0

    def _ask(self, course: _Course) -> None:
        try:
            status = self._look.states([self.id])[self.id]
        except LaunchError as error:
            course.words = str(error)
            return
        course.words = status.reason or course.words
        if status.state is ElementState.RUNNING and course.running is None:
            course.running = self._seconds()
        if status.state is ElementState.ENDED and course.mourned is None:
            course.mourned = self._seconds()


def check_nodes(
    paths: RegistryPaths,
    pool: str | None = None,
    patience: float = PATIENCE,
    launcher: Callable[[str, RegistryPaths], Launcher] = launcher_of,
) -> Iterator[Finding]:
    """Yield what a probe finds where the agents of a pool would run.

    Args:
        paths: The registry.
        pool: Name of the pool, None for the first on other machines.
        patience: Seconds for it to begin.
        launcher: Gives the launcher of a kind of pool.
    """
    try:
        chosen = _chosen(paths, pool)
        control.start(paths)
        yield from _opened(paths)
        probe = Probe(paths, chosen, launcher(type(chosen).__name__, paths))
        probe.submit()
    except BatchpilotError as error:
        yield bad("probe", error.message, error.remedy or "see docs/pools.md")
        return
    told = ""
    try:
        yield ok("probe", f"submitted to pool {chosen.name} as {probe.id}")
        course = probe.course(patience)
    finally:
        told = probe.cancel()
    yield from _findings(paths, chosen, probe, course)
    if told:
        yield note("probe", f"{probe.id} could not be cancelled: {told}", "cancel it by hand")


def _chosen(paths: RegistryPaths, name: str | None) -> RemotePool:
    """Return the pool that is meant.

    Raises:
        BatchpilotError: There is none, or another host asks for its agents.
    """
    owner = read_owner(paths)
    if not owner.here:
        raise BatchpilotError(
            f"{owner.host} owns the registry and asks for its agents", remedy="probe from there"
        )
    pools = from_records(control.kept(paths, "pools") or []) or [Local()]
    for pool in pools:
        if isinstance(pool, RemotePool) and name in (None, pool.name):
            return pool
    raise BatchpilotError(
        f"there is no pool {name!r} on other machines" if name else "no pool is on other machines",
        remedy="assign it to reg.pools first, see docs/pools.md",
    )


def _opened(paths: RegistryPaths) -> Iterator[Finding]:
    """Wait until the broker can be reached from other hosts; yield that it cannot."""
    no_address = _no_address()
    deadline = time.monotonic() + (OPENING if no_address is None else BRIEFLY)
    while time.monotonic() < deadline:
        access = read_access(paths)
        if access is not None and (access.external or tcp_places(access.urls)):
            return
        time.sleep(_POLL)
    yield no_address or bad(
        "broker", "it is not opened to other hosts", f"see {paths.logs / 'coordinator.log'}"
    )


def _no_address() -> Finding | None:
    """Return that this host has no address for the broker, None where it has."""
    try:
        chosen_addresses()
    except BrokerUnavailable as error:
        return bad("broker", error.message, error.remedy)
    return None


def _findings(
    paths: RegistryPaths, pool: RemotePool, probe: Probe, course: _Course
) -> Iterator[Finding]:
    place = paths.allocation(probe.allocation)
    if course.answered is not None:
        waited = duration(course.queued or 0.0)
        where = f"on {course.report['host']}"
        text = f"began {waited} after it was submitted, {where}; answered at "
        yield ok("probe", f"{text}{duration(course.answered)}")
        yield from check_report(course.report, pool, paths)
    elif not course.begun and course.mourned is None:
        yield bad(
            "probe",
            f"not begun in time, and cancelled: {course.words or 'for no reason that is told'}",
            "wait longer with --patience, or ask for what is free: resources of the pool",
        )
    elif probe.last_words():
        yield bad(
            "probe",
            f"no answer, but: {probe.last_words()}",
            f"see the pool's python, setup and env, and {place}",
        )
    else:
        yield bad(
            "probe",
            f"no answer ({course.words}), and nothing that it wrote is seen in {place}",
            "put the registry where all nodes see it at the same path; the batch system may have "
            "mailed or kept why the script did not start",
        )
