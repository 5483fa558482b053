"""Start, stop and look at the daemons of a registry.

These are supervisor, coordinator, agents and embedded broker. A session calls `ensure`, which
starts the supervisor where none lives and is cheap where one does.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from batchpilot_broker.files import read_json
from batchpilot_broker.host import boot_id, host_name, is_alive, process_start
from batchpilot_broker.paths import RegistryPaths

from .errors import (
    BatchpilotError,
    BrokerError,
    BrokerUnavailable,
    CoordinatorFailed,
    OwnershipLost,
    RegistryError,
    StorageError,
)
from .monitoring import words_of
from .notices import warn
from .seat import standing
from .store.agents import live_agents
from .store.allocations import pilots_alive
from .store.database import Database
from .store.owner import read_owner
from .store.snapshots import reading
from .surroundings import environment, scope


if TYPE_CHECKING:
    from .seating import Seating

START_SECONDS = 30.0
SUPERSEDED = 75

_log = logging.getLogger("batchpilot.control")
_supervisors: dict[Path, subprocess.Popen[bytes]] = {}
started_agents: list[subprocess.Popen[bytes]] = []  # kept: they outlive the call


class Nudger:
    """Tell a registry's coordinator that something changed, if there is one to be told.

    A nudge is a courtesy: a coordinator looks at the registry every second by itself.

    Args:
        paths: The registry's files.
        instance: Its instance.
    """

    def __init__(self, paths: RegistryPaths, instance: str) -> None:
        self._paths = paths
        self._instance = instance
        self._sender: Any = None

    def nudge(self) -> None:
        """Send one nudge where a coordinator is in office."""
        if not read_owner(self._paths).coordinator_alive or not self._paths.broker.exists():
            return
        from batchpilot_broker import clientside  # noqa: PLC0415 - redis takes 0.2 s to import

        try:
            self._sender = self._sender or clientside.Nudger(self._paths, self._instance)
            self._sender.nudge()
        except BrokerError as error:
            _log.debug("not nudged: %s", error)


def ensure(paths: RegistryPaths) -> None:
    """See that a supervisor watches over a coordinator, in office or coming.

    Where the coordinator has a seat at a batch system, nothing is started on this host.

    Raises:
        BrokerUnavailable: There is no broker and none can be started.
        CoordinatorFailed: The supervisor could not start one.
        RegistryMissing: The registry is gone.
        OwnershipLost: Another host owns it.
    """
    if paths.seat.exists():
        _seating(paths).see_to()
        return
    owner = read_owner(paths)
    if not owner.here:
        raise OwnershipLost(
            f"{owner.host} owns {paths.root}",
            remedy="load the registry again: what you do goes through that host then",
        )
    if is_supervised(paths):
        return
    supervisor = _supervisors.get(paths.root)
    if supervisor is not None:
        status = supervisor.poll()
        if status is None:
            return
        del _supervisors[paths.root]
        if status > 0 and status != SUPERSEDED:  # one that was killed is simply started again
            raise _failure(paths, status)
    _supervisors[paths.root] = _launch_supervisor(paths)


def _seating(paths: RegistryPaths) -> Seating:
    from .seating import Seating  # noqa: PLC0415 - launchers are needed only where there is a seat

    return Seating(paths)


def is_supervised(paths: RegistryPaths) -> bool:
    """Tell whether the supervisor that left its name here lives."""
    record = read_json(paths.logs / "supervisor.json")
    if record is None:
        return False
    ours = record["instance"] == read_owner(paths).instance and record["boot"] == boot_id()
    return bool(ours and is_alive(record["pid"], record["pid_start"]))


def start(paths: RegistryPaths) -> None:
    """Start supervisor, broker and coordinator where none runs, and wait until they work.

    One that has a seat at a batch system is only seen to: it comes when its turn is there.
    A broker that BATCHPILOT_BROKER_URL names is the registry's from then on: coordinator and agents
    that are at another one come to it.
    """
    if os.environ.get("BATCHPILOT_BROKER_URL"):
        start_broker(paths)
    deadline = time.monotonic() + START_SECONDS
    while not read_owner(paths).coordinator_alive:
        ensure(paths)
        if paths.seat.exists():
            return
        if time.monotonic() > deadline:
            raise CoordinatorFailed(
                f"no coordinator came into office within {START_SECONDS:.0f} s",
                remedy=f"see {paths.logs / 'coordinator.log'}",
            )
        time.sleep(0.02)


def stop(paths: RegistryPaths, *, timeout: float = 30.0) -> None:
    """Stop supervisor and coordinator, then the local agents, then the embedded broker.

    A coordinator's seat at a batch system is given up, and its allocation cancelled.
    Agents drain: what runs is handed back uncharged and goes on at the next start.
    """
    if paths.seat.exists():
        _seating(paths).give_up(timeout)
    record = read_json(paths.logs / "supervisor.json")
    if record is not None and is_supervised(paths):
        _end(record["pid"], record["pid_start"], timeout)
    owner = read_owner(paths)
    if owner.coordinator_alive:
        _end(owner.pid, owner.pid_start, timeout)
    live = [a for a in _live_agents(paths) if a["host"] == host_name()]
    for agent in live:
        _signal(agent["pid"], signal.SIGTERM)
    _wait(lambda: not any(_alive(a["pid"]) for a in live), timeout)
    stop_broker(paths)
    for child in (*_supervisors.values(), *started_agents):
        child.poll()


def stop_broker(paths: RegistryPaths) -> None:
    """Stop the embedded broker, where batchpilot started one on this host."""
    from batchpilot_broker.access import read_access  # noqa: PLC0415 - see Nudger
    from batchpilot_broker.server import stop_server  # noqa: PLC0415 - see Nudger

    access = read_access(paths)
    if access is not None and not access.external and access.pid:
        stop_server(paths, access)


def discard_broker(paths: RegistryPaths) -> None:
    """End the registry's broker and remove its data; one from outside loses what is ours."""
    from batchpilot_broker.server import discard_broker as discard  # noqa: PLC0415 - see Nudger

    try:
        discard(paths, read_owner(paths).instance)
    except BrokerUnavailable as error:
        warn(f"the broker keeps what this registry has stored there: {error}")


def start_broker(paths: RegistryPaths, url: str | None = None) -> None:
    """Find or start the registry's broker."""
    from batchpilot_broker.server import ensure_server  # noqa: PLC0415 - see Nudger

    ensure_server(paths, read_owner(paths).instance, url)


def run_foreground(paths: RegistryPaths, words: Sequence[str] = ()) -> NoReturn:
    """Become the supervisor, so that Ctrl-C and SIGTERM reach it and nothing comes between.

    Args:
        paths: The registry's files.
        words: Options for the coordinators that it starts.

    Raises:
        CoordinatorFailed: It has a seat at a batch system.
    """
    seat = standing(paths)
    if seat is not None:
        raise CoordinatorFailed(
            f"the coordinator of {paths.root} {seat.text}",
            remedy="to have it here, give that up first: batchpilot coordinator stop",
        )
    command = [*_command(paths), *words]
    os.execve(command[0], command, environment())  # noqa: S606 - our own program


def coordinator_status(paths: RegistryPaths) -> dict[str, Any]:
    """Return what is known of the coordinator: running pid host term heartbeat metrics seat."""
    owner, seat = read_owner(paths), standing(paths)
    return {
        "running": owner.coordinator_alive or owner.beats_elsewhere(time.time()),
        "pid": owner.pid or None,
        "host": owner.host,
        "term": owner.term,
        "heartbeat": owner.heartbeat,
        "metrics": owner.metrics or None,
        "seat": None if seat is None else seat.text,
    }


def broker_status(paths: RegistryPaths) -> dict[str, Any]:
    """Return what is known of the broker: running pid host url version generation."""
    from batchpilot_broker import access as access_module  # noqa: PLC0415 - see Nudger
    from batchpilot_broker.coordside import CoordinatorBroker  # noqa: PLC0415 - see Nudger

    access = access_module.read_access(paths)
    none = {"running": False, "pid": None, "host": None, "url": None, "version": None}
    if access is None:
        return {**none, "generation": None}
    known = {"pid": access.pid or None, "host": access.host, "generation": access.generation}
    known["url"] = access_module.public_url(access)
    try:
        broker = CoordinatorBroker.open(paths, read_owner(paths).instance)
    except BrokerError:
        return {**none, **known}
    try:
        status = broker.status()
    finally:
        broker.close()
    return {**known, "running": status.up, "version": status.version}


def agents(paths: RegistryPaths) -> list[dict[str, Any]]:
    """Return the agents that live, each as `ShownAgent` describes it."""
    return _live_agents(paths)


def awaited_agents(paths: RegistryPaths) -> list[dict[str, Any]]:
    """Return the agents that were asked for at batch systems and have not come yet."""
    with closing(reading(paths)) as database, database.read() as tx:
        pilots = pilots_alive(tx)
    return [
        {
            "pool": pilot.pool,
            "scheduler_id": pilot.id,
            "state": str(pilot.stage),
            "reason": pilot.reason,
            "submitted": pilot.submitted,
        }
        for pilot in pilots
        if not pilot.agent
    ]


def _live_agents(paths: RegistryPaths) -> list[dict[str, Any]]:
    with closing(reading(paths)) as database, database.read() as tx:
        known = live_agents(tx)
    return [asdict(a) for a in known if a.host != host_name() or _alive(a.pid)]


def _launch_supervisor(paths: RegistryPaths) -> subprocess.Popen[bytes]:
    log = paths.logs / "supervisor.log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [*scope(), *_command(paths)],
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            cwd="/",
            start_new_session=True,
            env=environment(),
        )
    finally:
        os.close(fd)


def _command(paths: RegistryPaths) -> list[str]:
    words = words_of({"log_format": kept(paths, "log_format")})
    return [sys.executable, "-m", "batchpilot.supervisor", str(paths.root), *words]


def kept(paths: RegistryPaths, name: str) -> Any:
    """Return what the registry keeps under a name; None where its database cannot be read."""
    try:
        database = Database(paths, writeable=False)
    except (RegistryError, StorageError) as error:
        _log.debug("the coordinator will tell: %s", error)
        return None
    try:
        with database.read() as tx:
            stored = tx.meta(name)
    finally:
        database.close()
    return json.loads(stored) if stored else None


def _failure(paths: RegistryPaths, status: int) -> BatchpilotError:
    record = read_json(paths.logs / "failure.json") or {}
    message = str(record.get("message", f"the supervisor ended with exit code {status}"))
    remedy = str(record.get("remedy", f"see {paths.logs / 'supervisor.log'}"))
    kind = BrokerUnavailable if status == BrokerUnavailable.exit_code else CoordinatorFailed
    return kind(message, remedy=remedy)


def _alive(pid: int) -> bool:
    return process_start(pid) != 0


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        _log.debug("process %d is gone already", pid)


def _end(pid: int, started: int, timeout: float) -> None:
    if not is_alive(pid, started):
        return
    _signal(pid, signal.SIGTERM)
    if not _wait(lambda: not is_alive(pid, started), timeout):
        _signal(pid, signal.SIGKILL)
        _wait(lambda: not is_alive(pid, started), timeout)


def _wait(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        for child in (*_supervisors.values(), *started_agents):
            child.poll()
        time.sleep(0.02)
    return True
