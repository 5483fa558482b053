"""Tell Prometheus where this registry's coordinator is: a file for its `file_sd_configs`.

`<registry>/prometheus-targets.json` is written aside and renamed when a coordinator takes office,
wherever that is, and removed when it leaves in good order. One that was killed leaves it behind, so
that Prometheus sees the target down.
"""

from __future__ import annotations

import json
from pathlib import Path

from batchpilot_broker.files import write_aside


def write_targets(path: Path, url: str) -> None:
    """Name the one target.

    Args:
        path: The file.
        url: Address of the coordinator, "http://host:port" or "https://host:port".

    Raises:
        StorageError: The file cannot be written.
    """
    scheme, _, address = url.partition("://")
    target = {"targets": [address], "labels": {"__scheme__": scheme}}
    write_aside(path, json.dumps([target], indent=1).encode() + b"\n")


def remove_targets(path: Path) -> None:
    """Name none any more."""
    path.unlink(missing_ok=True)
