"""Hosts on this machine: each has its own name, processes, /var/tmp and network, as a node has.

They share the file system, or see a directory at another path; the kernel and its boot id are the
same. Ending a host's first process is what a power cut is to a node. Only root can make them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tests.conftest import wait_until


ROOT = Path(__file__).parents[2]
_INIT = """
hostname "$1"; shift
ip link set lo up
mount -t tmpfs -o mode=1777 batchpilot-test /var/tmp
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
touch "$READY"
trap : TERM INT
while :; do sleep 3600 & wait $!; done
"""


def missing() -> str:
    """Return why no hosts can be made here, "" where they can."""
    if os.getuid() != 0:
        return "NOT TESTED: only root can make hosts"
    if any(shutil.which(program) is None for program in ("unshare", "nsenter", "ip")):
        return "NOT TESTED: hosts are made by unshare, nsenter (util-linux) and ip (iproute2)"
    probe = ["unshare", "--uts", "--mount", "--pid", "--net", "--fork", "true"]
    made = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"NOT TESTED: no namespaces here: {made.stderr.strip()}" if made.returncode else ""


class Host:
    """Run a host until it is ended.

    Args:
        name: Its host name.
        home: Where it keeps its own files.
        shared: Directories that it sees at another path, by that path.
        network: Namespace of its network; None for the machine's own network.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        *,
        shared: Mapping[Path, Path] | None = None,
        network: str | None = None,
    ) -> None:
        self.name = name
        self.home = home / name
        self.home.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(
                [*(str(ROOT / part) for part in ("core", "agent", "broker")), str(ROOT)]
            ),
        }
        mounts = []
        for seen, directory in (shared or {}).items():
            seen.mkdir(parents=True, exist_ok=True)
            mounts += [str(directory), str(seen)]
        ready = self.home / "ready"
        enter = ["nsenter", f"--net=/run/netns/{network}"] if network else []
        spaces = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._process = subprocess.Popen(
            [*enter, *spaces, "sh", "-c", _INIT, "init", name, *mounts],
            env={**self.environment, "READY": str(ready)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what unshare says when it is killed
            start_new_session=True,
        )
        wait_until(ready.exists)
        self.init = _first_child(self._process.pid)

    def start(self, code: str, *words: object, **variables: str) -> subprocess.Popen[str]:
        """Start Python code on the host, and return the process."""
        inside = ["nsenter", f"--target={self.init}", "--uts", "--mount", "--pid", "--net"]
        inside.append(f"--wdns={self.home}")
        return subprocess.Popen(
            [*inside, sys.executable, "-c", code, *map(str, words)],
            cwd=self.home,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *words: object, seconds: float = 90.0, **variables: str) -> str:
        """Run Python code on the host, and return what it printed; it must not fail."""
        process = self.start(code, *words, **variables)
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            process.kill()
        assert process.returncode == 0, err
        return out.strip()

    def processes(self, word: str = "") -> list[int]:
        """Return the processes of the host, as this machine numbers them, that have a word."""
        space = _pids_of(self.init)
        return [
            pid
            for pid in _all_pids()
            if pid != self.init and _pids_of(pid) == space and word in _command(pid)
        ]

    def freeze(self, word: str = "") -> list[int]:
        """Stop processes of the host, by default all; return which.

        Among them may be a child that has not become another program yet.
        """
        frozen = []
        for pid in self.processes(word):
            with suppress(ProcessLookupError):  # it was such a child
                os.kill(pid, signal.SIGSTOP)
                frozen.append(pid)
        return frozen

    def crash(self) -> float:
        """End the host and all that runs on it, at once, and return when."""
        moment = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        self._process.wait(60)
        return moment


class Network:
    """Connect hosts by a bridge of this machine.

    Attributes:
        address: The machine's own address on it.
    """

    def __init__(self) -> None:
        self._tag = secrets.token_hex(3)
        self._bridge = f"bp{self._tag}"
        self._subnet = f"10.{77 + secrets.randbelow(100)}.{secrets.randbelow(256)}"
        self._members: list[str] = []
        self.address = f"{self._subnet}.1"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def join(self, name: str) -> str:
        """Make a network namespace on the bridge and return its name."""
        self._members.append(name)
        space, line = f"{self._bridge}-{name}", self._line(name)
        _ip("netns", "add", space)
        _ip("link", "add", line, "type", "veth", "peer", "name", "eth0", "netns", space)
        number = 10 + len(self._members)
        _ip("-n", space, "addr", "add", f"{self._subnet}.{number}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("link", "set", line, "master", self._bridge, "up")
        return space

    def cut(self, *names: str) -> float:
        """Unplug hosts, and return when: nothing comes through, and nobody is told."""
        moment = time.monotonic()
        for name in names:
            _ip("link", "set", self._line(name), "down")
        return moment

    def mend(self, *names: str) -> float:
        """Plug hosts in again, and return when."""
        for name in names:
            _ip("link", "set", self._line(name), "up")
        return time.monotonic()

    def slow_down(self, name: str, rate: str) -> None:
        """Let no more through to and from a host than a rate, such as `256kbit`."""
        shape = ["root", "tbf", "rate", rate, "burst", "3kb", "latency", "2s"]
        _run("tc", "qdisc", "add", "dev", self._line(name), *shape)
        space = f"{self._bridge}-{name}"
        _run("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "eth0", *shape)

    def close(self) -> None:
        """Take the network down."""
        for name in self._members:
            _run("ip", "link", "del", self._line(name), check=False)
            _run("ip", "netns", "del", f"{self._bridge}-{name}", check=False)
        _run("ip", "link", "del", self._bridge, check=False)

    def _line(self, name: str) -> str:
        return f"b{self._tag}n{self._members.index(name)}"


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _first_child(pid: int) -> int:
    children = [p for p in _all_pids() if _parent(p) == pid]
    assert len(children) == 1, children
    return children[0]


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat[stat.rindex(")") + 2 :].split()[1])


def _pids_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink().name
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
