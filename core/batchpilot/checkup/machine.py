"""Checks of this machine and this installation, with no registry in view."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from batchpilot_broker.binaries import REMEDIES, find_server
from batchpilot_broker.errors import BrokerError
from batchpilot_broker.host import file_system, on_network, runtime_dir

from .finding import Finding, bad, note, ok


FLOOR = (3, 11)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def check_machine() -> Iterator[Finding]:
    """Yield what is found of Python, packages, broker binary and runtime directory."""
    yield _python()
    yield _packages()
    yield _binary()
    yield _runtime()


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < FLOOR:
        return bad("python", text, "use Python 3.11 or newer")
    return ok("python", text)


def _packages() -> Finding:
    found, missing = [], []
    for name in _needed():
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return bad(
            "packages", f"not installed: {', '.join(missing)}", "pip install --upgrade batchpilot"
        )
    return ok("packages", ", ".join(found))


def _needed() -> list[str]:
    """Return what batchpilot needs without any extra, itself first."""
    try:
        lines = requires("batchpilot") or []
    except PackageNotFoundError:
        return ["batchpilot"]
    names = (_NAME.match(line) for line in lines if "extra ==" not in line)
    return ["batchpilot", *(name[0] for name in names if name)]


def _binary() -> Finding:
    url = os.environ.get("BATCHPILOT_BROKER_URL")
    try:
        server = find_server()
    except BrokerError as error:
        if url:
            return note("broker binary", f"{error.message}; BATCHPILOT_BROKER_URL names a broker")
        return bad("broker binary", error.message, error.remedy or REMEDIES)
    return ok("broker binary", f"{server.kind} {server.version} at {server.path}")


def _runtime() -> Finding:
    remedy = "make space and rights under /var/tmp, which must be this machine's own disk"
    try:
        home = runtime_dir(f"doctor-{os.getpid()}")
        try:
            with tempfile.TemporaryFile(dir=home) as file:
                file.write(bytes(4096))
        finally:
            home.rmdir()
    except OSError as error:
        return bad("runtime directory", f"cannot be used: {error}", remedy)
    text = f"{home.parent} on {file_system(home.parent)}"
    if on_network(home.parent):
        return bad("runtime directory", f"{text}, a network file system", remedy)
    return ok("runtime directory", text)
