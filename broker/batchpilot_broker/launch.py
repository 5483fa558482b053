"""Start a server process that is nobody's child, wait until it answers, end it again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .access import Access
from .accounts import users
from .binaries import ServerBinary
from .connect import connect
from .errors import BrokerUnavailable
from .files import write_aside
from .host import is_alive, process_start
from .network import can_listen, tcp_places


UP_WITHIN = 60.0
"""Seconds for a server to come up; reading a large log back takes some."""

GONE_WITHIN = 10.0
SOCKET = "broker.sock"
LOG = "broker.log"
LONGEST_SOCKET = 107

_CONF = """\
port {port}
{bind}unixsocket "{socket}"
unixsocketperm 600
protected-mode yes
dir "{home}"
logfile "{log}"
daemonize no
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
{users}"""

# The shell leaves at once: the server is the child of init and holds no file of ours.
_ORPHAN = 'umask 077; "$@" </dev/null >/dev/null 2>&1 & echo $!'

_DATA = ("appendonlydir", "appendonly.aof")


Spawned = Callable[[int, int], None]
"""Told the pid and the start time of a server as soon as it runs: whoever dies next is not alone
in knowing of it."""


def launch(binary: ServerBinary, access: Access, spawned: Spawned) -> tuple[int, int]:
    """Start a server on the data in its directory, or, where it cannot read them, without.

    Args:
        binary: The server.
        access: Where it is to listen, with the coordinator's password; its directory is that of
            the log.
        spawned: Told of each server that is started.

    Returns:
        Its pid and its start time.

    Raises:
        BrokerUnavailable: It does not come up.
    """
    home = Path(access.log).parent
    socket = home / SOCKET
    if len(os.fsencode(socket)) > LONGEST_SOCKET:
        raise BrokerUnavailable(
            f"the path of the broker's socket is too long: {socket}",
            remedy="set BATCHPILOT_BROKER_URL to a broker of your own",
        )
    try:
        return _launch(binary, access, home, spawned)
    except BrokerUnavailable:
        taken = was_taken(home) or not can_listen(tcp_places(access.urls))
        if taken or not _put_aside(home):
            raise  # not because of its data, or it has none
    return _launch(binary, access, home, spawned)


def was_taken(home: Path) -> bool:
    """Tell whether the last server did not come up because somebody else listened at its port."""
    log = home / LOG
    return log.exists() and "Address already in use" in log.read_text(errors="replace")


def end_process(pid: int, pid_start: int, patience: float = GONE_WITHIN) -> bool:
    """End a process by SIGTERM, then by SIGKILL; one with another start time is left alone.

    Args:
        pid: The process.
        pid_start: Its start time.
        patience: Seconds between the two.

    Returns:
        Whether it lived.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(pid, pid_start):
            return number == signal.SIGKILL
        with suppress(ProcessLookupError):  # it has ended since
            os.kill(pid, number)
        _await_end(pid, pid_start, patience)
    return True


def command_line(pid: int) -> str:
    """Return what a process was called with, or calls itself; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _launch(binary: ServerBinary, access: Access, home: Path, spawned: Spawned) -> tuple[int, int]:
    log = home / LOG
    if log.exists():
        log.replace(home / f"{LOG}.old")
    conf = home / "broker.conf"
    accounts = users(access, binary.release)
    places = tcp_places(access.urls)
    port = places[0][1] if places else 0
    bind = f"bind {' '.join(host for host, _ in places)}\n" if places else ""
    text = _CONF.format(
        port=port, bind=bind, socket=home / SOCKET, home=home, log=log, users=accounts
    )
    write_aside(conf, text.encode())
    pid = _spawn([str(binary.path), str(conf)], home)
    start = process_start(pid)
    spawned(pid, start)
    _await_answer(access, pid, start, log)
    return pid, start


def _spawn(command: list[str], home: Path) -> int:
    try:
        shell = subprocess.run(
            ["/bin/sh", "-c", _ORPHAN, "sh", *command],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise BrokerUnavailable(
            f"cannot start {command[0]}: {error}", remedy="check that this user may start processes"
        ) from error
    return int(shell.stdout)


def _await_answer(access: Access, pid: int, start: int, log: Path) -> None:
    # By its socket: at its port somebody else may answer.
    access = replace(access, urls=access.urls[:1])
    deadline = time.monotonic() + UP_WITHIN
    pause = 0.002
    while True:
        try:
            connect(access).close()
        except BrokerUnavailable:
            if is_alive(pid, start) and time.monotonic() < deadline:
                pause = min(2 * pause, 0.1)
                time.sleep(pause)
                continue
            end_process(pid, start)
            raise _did_not_start(log) from None
        return


def _did_not_start(log: Path) -> BrokerUnavailable:
    said = (
        log.read_text(errors="replace").splitlines()[-3:] if log.exists() else ["it wrote no log"]
    )
    return BrokerUnavailable(
        f"the broker did not come up: {' / '.join(said)}",
        remedy=f"see {log}, or set BATCHPILOT_BROKER_URL to a broker of your own",
    )


def _put_aside(home: Path) -> bool:
    """Put data aside that the server could not read; only the last such are kept."""
    found = [home / name for name in _DATA if (home / name).exists()]
    if found:
        broken = home / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        broken.mkdir(mode=0o700)
        for path in found:
            path.replace(broken / path.name)
    return bool(found)


def _await_end(pid: int, pid_start: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while is_alive(pid, pid_start) and time.monotonic() < deadline:
        time.sleep(0.01)
