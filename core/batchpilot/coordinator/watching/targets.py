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
    write_aside(path, _text(url))


def remove_targets(path: Path, url: str) -> None:
    """Name none any more, unless a successor elsewhere has named itself."""
    if path.exists() and path.read_bytes() == _text(url):
        path.unlink(missing_ok=True)


def _text(url: str) -> bytes:
    scheme, _, address = url.partition("://")
    target = {"targets": [address], "labels": {"__scheme__": scheme}}
    return json.dumps([target], indent=1).encode() + b"\n"
