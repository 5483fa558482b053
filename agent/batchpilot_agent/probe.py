"""Look around where an agent would run, and write down what is found there, for `doctor --probe`.

    python -m batchpilot_agent.probe --registry DIR --allocation ID --element 1

It is started exactly as an agent is. What it finds goes into `allocations/<id>/`, first that it has
begun and then the whole; it loads nothing but what it reports on, so that it can tell what lacks.
It shows that it sees this very directory by the nonce that whoever asks has left there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from batchpilot_broker.access import Access, read_access, without_secrets
from batchpilot_broker.connect import connect
from batchpilot_broker.errors import BatchpilotError, StorageError
from batchpilot_broker.files import read_json, write_json
from batchpilot_broker.host import file_system, host_name, on_network
from batchpilot_broker.paths import RegistryPaths

from .allocation import read_allocation, usable_cores
from .scratch import new_scratch
from .settings import Exit


NEEDED = ("batchpilot", "cloudpickle", "msgpack", "redis")
"""Packages without which no agent works, or no job."""

PATIENCE = 5.0
"""Seconds for each address of the broker."""


def main(argv: list[str] | None = None) -> int:
    """Look around; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m batchpilot_agent.probe", description=__doc__)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--allocation", required=True)
    parser.add_argument("--element", default="")
    args = parser.parse_args(argv)
    try:
        return probe(RegistryPaths(args.registry.absolute()), args.allocation)
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        return Exit.REGISTRY_GONE


def probe(paths: RegistryPaths, allocation: str) -> int:
    """Write down what is found here; return the exit code.

    Raises:
        StorageError: It cannot be written.
    """
    asked = read_json(paths.probe(allocation, "asked"))
    if asked is None:
        sys.stderr.write(
            f"{paths.root} on {host_name()} is another directory than that of the registry:"
            f" it has no {paths.probe(allocation, 'asked').relative_to(paths.root)}\n"
        )
        return Exit.REGISTRY_GONE
    write_json(paths.probe(allocation, "begun"), {"nonce": asked["nonce"], "host": host_name()})
    report = {"nonce": asked["nonce"], **_of_python(), **_of_machine(os.environ)}
    report["broker"] = _of_broker(paths)
    write_json(paths.probe(allocation, "report"), {**report, "time": time.time()})
    return Exit.LEFT


def _of_python() -> dict[str, Any]:
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "executable": sys.executable,
        "packages": {name: _version(name) for name in NEEDED},
    }


def _version(name: str) -> str | None:
    """Return the version of a package, "" where it does not tell, None where it is not there."""
    if find_spec(name) is None:
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _of_machine(environment: Mapping[str, str]) -> dict[str, Any]:
    given = read_allocation(environment, host_name())
    return {
        "host": host_name(),
        "element": given.element,
        "cores": given.cores or usable_cores(),
        "memory": given.memory,
        "devices": list(given.devices),
        "scratch": _of_scratch(new_scratch(environment).parent),
    }


def _of_scratch(directory: Path) -> dict[str, Any]:
    """Tell where agents keep what is theirs alone, and whether that works."""
    found = {"path": str(directory), "words": "", "kind": "", "local": True, "free": 0}
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
            file.flush()
        disk = os.statvfs(directory)
    except OSError as error:
        return found | {"words": error.strerror or str(error)}
    told = {"kind": file_system(directory), "local": not on_network(directory)}
    return {**found, **told, "free": disk.f_bavail * disk.f_frsize}


def _of_broker(paths: RegistryPaths) -> list[dict[str, Any]]:
    """Tell of each address of the broker whether it is reached from here, and lets us in."""
    access = read_access(paths)
    if access is None:
        return []
    sockets = access.host == host_name()
    urls = [url for url in access.urls if sockets or not url.startswith("unix:")]
    with ThreadPoolExecutor(max(1, len(urls))) as threads:
        return list(threads.map(lambda url: reach(access, url), urls))


def reach(access: Access, url: str, patience: float = PATIENCE) -> dict[str, Any]:
    """Tell whether one address of a broker is reached from here, and lets us in.

    Returns:
        Its `url`, and `words`, "" where all is well.
    """
    words = ""
    try:
        connect(replace(access, urls=(url,)), timeout=patience).close()
    except BatchpilotError as error:
        words = error.message
    except ModuleNotFoundError as error:
        words = f"{error.name} is not installed"
    return {"url": without_secrets(url), "words": words}


if __name__ == "__main__":
    sys.exit(main())
