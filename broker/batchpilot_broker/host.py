"""Facts about this machine and its processes: who runs where, and is it still the same process."""

from __future__ import annotations

import os
import shutil
import socket
import time
from functools import cache
from pathlib import Path


_NETWORK = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "cifs",
    "smb",
    "fuse",
    "ceph",
    "9p",
    "afs",
    "orangefs",
)


_ALL_PIDS = "pid:[4026531836]"
"""The namespace of processes that belongs to the machine itself: Linux has its number built in."""


@cache
def host_name() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


@cache
def boot_id() -> str:
    """Return the id of this machine's current boot; in a container also which one of its own.

    It tells for which processes a pid means the same: containers share their machine's boot id,
    not its pids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pids = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return f"unknown-{host_name()}"
    return boot if pids == _ALL_PIDS else f"{boot}-{pids}"


def process_start(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot, 0 where it does not live.

    A zombie counts as dead. With `boot_id` this tells a process from a later one of the same pid.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def seconds_since_start() -> float:
    """Return the age of this process, which `exec` does not change: a script's that became it."""
    begun = process_start(os.getpid()) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun)


def is_alive(pid: int, start: int) -> bool:
    """Tell whether the process that had this pid and start time still lives here."""
    return start != 0 and process_start(pid) == start


def file_system(path: Path) -> str:
    """Return the kind of the file system on which a path lies, as the mount table has it."""
    best = (0, "")
    target = os.path.realpath(path)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        point = mount.replace("\\040", " ")
        if target == point or target.startswith(point.rstrip("/") + "/"):
            best = max(best, (len(point), kind))
    return best[1]


def on_network(path: Path) -> bool:
    """Tell whether a path lies on a file system that other hosts may share."""
    return file_system(path).startswith(_NETWORK)


def runtime_dir(instance: str) -> Path:
    """Return the private directory on local disk for sockets and broker data of an instance.

    Raises:
        PermissionError: Another user holds that name.
    """
    path = runtime_path(instance)
    for directory in (path.parent, path):
        directory.mkdir(mode=0o700, exist_ok=True)
        if directory.stat().st_uid != os.getuid() or directory.is_symlink():
            raise PermissionError(f"{directory} belongs to another user")
        directory.chmod(0o700)
    return path


def remove_runtime_dir(instance: str) -> None:
    """Remove that directory, where it is."""
    path = runtime_path(instance)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.with_suffix(".lock").unlink(missing_ok=True)


def runtime_path(instance: str) -> Path:
    """Return where that directory is or would be."""
    return Path("/var/tmp") / f"batchpilot-{os.getuid()}" / instance  # noqa: S108 - runtime_dir checks it: ours, 0700
