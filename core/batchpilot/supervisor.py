"""The supervisor: it keeps the broker and the coordinator of a registry running.

It does nothing else, so that nothing else can end it. One runs per registry instance and host,
held by a lock in the instance's private directory on local disk. It ends when the coordinator has
left because there was nothing to do, when the registry is gone, or when another supervisor is to
take its place (`seat`); then it stops the broker.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from batchpilot_broker.access import Access, read_access
from batchpilot_broker.errors import BatchpilotError
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import boot_id, host_name, is_alive, process_start, runtime_dir
from batchpilot_broker.journal import start_log
from batchpilot_broker.launch import end_process
from batchpilot_broker.paths import RegistryPaths
from batchpilot_broker.server import ensure_server, stop_server

from .monitoring import log_format_in, registry_id
from .seat import relief


POLL = 0.2
RELIEF_EVERY = 3.0
PAUSES = (0.0, 0.5, 2.0, 5.0, 15.0)
HEALTHY_AFTER = 30.0
SUPERSEDED = 75
GRACE = 20.0

_log = logging.getLogger("batchpilot.supervisor")


class Supervisor:
    """Keep the broker and the coordinator of a registry running.

    Args:
        paths: The registry's files.
        words: Options for the coordinators that it starts.
        relieved: Asked every few seconds, tells whether another one is to take its place now.
        waits: Whether to wait for another one on this host to leave.
        grace: Seconds that a coordinator gets to leave, before it is killed.
    """

    def __init__(
        self,
        paths: RegistryPaths,
        words: Sequence[str] = (),
        *,
        relieved: Callable[[], bool] | None = None,
        waits: bool = False,
        grace: float = GRACE,
    ) -> None:
        self._paths = paths
        self._words = list(words)
        self._relieved = relieved or relief(paths)
        self._waits = waits
        self._grace = grace
        self._next_relief = 0.0
        self._instance = str((read_json(paths.owner) or {})["instance"])
        self._coordinator: subprocess.Popen[bytes] | None = None
        self._access: Access | None = None
        self._failures = 0
        self._started = 0.0
        self._stopping = False
        self._adopted = False
        self._root = os.open(paths.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def stop(self) -> None:
        """End the coordinator and leave; the broker stays for those who still speak to it."""
        self._stopping = True

    def run(self) -> int:
        """Supervise until the coordinator has left on its own, or a stop; return the exit code."""
        while (lock := self._lock()) is None:
            if not self._waits or self._stopping or self._is_relieved():
                _log.info("another supervisor runs")
                return 0
            time.sleep(POLL)
        me = os.getpid()
        write_json(
            self._paths.logs / "supervisor.json",
            {
                "pid": me,
                "pid_start": process_start(me),
                "boot": boot_id(),
                "instance": self._instance,
            },
        )
        try:
            return self._supervise()
        finally:
            self._end_coordinator()
            os.close(lock)

    def _supervise(self) -> int:
        self._access = ensure_server(self._paths, self._instance)
        while not self._stopping:
            if self._is_relieved():
                _log.info("another supervisor takes the place of this one")
                self._adopted = True  # the one in office goes too, also where this one never saw it
                self._end_coordinator()
                self._leave(0)
                return 0
            self._look_after_broker()
            status = self._look_after_coordinator()
            if status is not None:
                self._leave(status)
                return status
            time.sleep(POLL)
        return 0

    def _is_relieved(self) -> bool:
        now = time.monotonic()
        if now < self._next_relief:
            return False
        self._next_relief = now + RELIEF_EVERY
        return self._relieved()

    def _look_after_broker(self) -> None:
        """Start the broker again where its process is gone, or nobody can reach it any more."""
        access = self._access
        if (access is not None and _is_served(access)) or self._taken_over():
            return
        _log.warning("the broker is gone; starting another")
        try:
            if access is not None:
                stop_server(self._paths, access)
            self._access = ensure_server(self._paths, self._instance)
        except BatchpilotError as error:
            _log.error("%s", error)

    def _look_after_coordinator(self) -> int | None:
        """Start the coordinator where none runs; return its exit code where it left for good."""
        if self._coordinator is None:
            return self._start_or_adopt()
        status = self._coordinator.poll()
        if status is None:
            return None
        self._coordinator = None
        if status == 0:
            return 0
        if time.monotonic() - self._started > HEALTHY_AFTER:
            self._failures = 0
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        _log.warning("the coordinator ended with %s; the next starts in %s s", status, pause)
        self._started = time.monotonic() + pause
        return status if status in (3, SUPERSEDED) else None

    def _start_or_adopt(self) -> int | None:
        """Start a coordinator, or watch the one that a supervisor before this one has started."""
        pid, start = self._in_office()
        if self._taken_over():
            return SUPERSEDED
        if is_alive(pid, start):
            self._adopted = True
        elif self._adopted and not pid and not self._waits:
            return 0
        elif time.monotonic() >= self._started:
            self._adopted = False
            self._coordinator = self._start_coordinator()
        return None

    def _in_office(self) -> tuple[int, int]:
        """Return the coordinator that was last in office, and when it was started; 0 for none."""
        owner = read_json(self._paths.owner) or {}
        start = owner.get("pid_start", 0) if owner.get("boot") == boot_id() else 0
        return int(owner.get("pid", 0)), int(start)

    def _leave(self, status: int) -> None:
        if not self._paths.owner.exists():
            self._leave_nothing()
            return
        if self._taken_over():
            self._leave_to_another_host()
            return
        access = read_access(self._paths) if self._paths.broker.exists() else None
        if status == 0 and access is not None and access.pid and not access.external:
            stop_server(self._paths, access)

    def _taken_over(self) -> bool:
        """Tell whether another host owns the registry now."""
        owner = read_json(self._paths.owner) or {}
        return bool(owner.get("host", host_name()) != host_name())

    def _leave_to_another_host(self) -> None:
        """Stop the broker that nobody is to speak to any more; the new owner has one of its own."""
        _log.warning("another host has taken the registry over")
        access = self._access
        if access is not None and access.pid and not access.external:
            stop_server(self._paths, access)

    def _leave_nothing(self) -> None:
        """Stop the broker of a registry that is gone; with its data, unless that has only moved."""
        _log.warning("the registry is gone")
        access = self._access
        if access is not None and access.pid and not access.external:
            stop_server(self._paths, access, discard=os.fstat(self._root).st_nlink == 0)

    def _start_coordinator(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        log = self._paths.logs / "coordinator.log"
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "batchpilot.coordinator",
                    str(self._paths.root),
                    *self._words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                start_new_session=True,
            )
        finally:
            os.close(fd)

    def _end_coordinator(self) -> None:
        """End the coordinator, be it started here or adopted."""
        child = self._coordinator
        if child is not None:
            end_process(child.pid, process_start(child.pid), self._grace)
            child.wait()
            self._coordinator = None
        elif self._adopted:
            end_process(*self._in_office(), self._grace)

    def _lock(self) -> int | None:
        path = runtime_dir(self._instance) / "supervisor.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd


def _is_served(access: Access) -> bool:
    """Tell whether a broker of ours lives and has its socket, which cleaners of /var/tmp delete."""
    if not access.pid:
        return True
    sockets = [url.removeprefix("unix://") for url in access.urls if url.startswith("unix://")]
    return is_alive(access.pid, access.pid_start) and all(map(os.path.exists, sockets))


def main() -> int:
    """Run a supervisor; what made it fail is left in `logs/failure.json` for the sessions."""
    parser = argparse.ArgumentParser(prog="python -m batchpilot.supervisor")
    parser.add_argument("directory", type=Path)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="options for the coordinator")
    options = parser.parse_args()
    paths = RegistryPaths(options.directory)
    log_format = log_format_in(options.words)
    start_log(log_format, "%(asctime)s %(name)s %(message)s", registry=registry_id(paths))
    failure = paths.logs / "failure.json"
    failure.unlink(missing_ok=True)
    try:
        supervisor = Supervisor(paths, options.words)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        return supervisor.run()
    except BatchpilotError as error:
        _log.error("%s", error)
        write_json(failure, {"message": error.message, "remedy": error.remedy})
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
