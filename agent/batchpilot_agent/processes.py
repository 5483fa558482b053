"""What runs on this machine, read from /proc: process trees, and whoever carries a marker.

Every job is started with markers in its environment (`BATCHPILOT_INSTANCE=<instance>` with
`BATCHPILOT_AGENT=<agent>` and `BATCHPILOT_SLOT=<agent>:<slot>:<serial>`), so what it left running
is found even when it has left its session and its parents are gone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple


_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Process(NamedTuple):
    """Hold what the kernel says of one process."""

    parent: int
    session: int
    resident: int


def process_table() -> dict[int, Process]:
    """Return all processes but zombies, by pid."""
    table = {}
    for pid in _pids():
        try:
            stat = (_PROC / str(pid) / "stat").read_bytes()
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2 :].split()
        if fields[0] not in (b"Z", b"X"):
            table[pid] = Process(int(fields[1]), int(fields[3]), int(fields[21]) * _PAGE)
    return table


def tree_of(root: int, table: dict[int, Process]) -> set[int]:
    """Return the pids of a process, its session and all their descendants."""
    members = {pid for pid, process in table.items() if root in (pid, process.session)}
    while True:
        more = {pid for pid, process in table.items() if process.parent in members} - members
        if not more:
            return members
        members |= more


def marked(every: Collection[str], some: Collection[str] = ()) -> set[int]:
    """Return the pids of this user whose environment holds every, and some, of these markers."""
    needed = frozenset(marker.encode() for marker in every)
    wanted = frozenset(marker.encode() for marker in some)
    found = set()
    for pid in _pids():
        environment = _environment(pid)
        if needed <= environment and (not wanted or wanted & environment):
            found.add(pid)
    return found - {os.getpid()}


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    try:
        status = (_PROC / str(pid) / "status").read_bytes()
    except OSError:
        return False
    caught = int(status.partition(b"\nSigCgt:")[2].split(maxsplit=1)[0], 16)
    return bool(caught >> (number - 1) & 1)


def send(number: signal.Signals, pids: Collection[int]) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - 3x faster than iterdir, in a loop of 0.5 s


def _environment(pid: int) -> frozenset[bytes]:
    try:
        return frozenset((_PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()
