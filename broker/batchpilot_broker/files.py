"""The one way to write to the shared disk: aside, fsync, rename.

A reader sees the old file or the new one, never a half; files are 0600, directories 0700.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import StorageError


def write_aside(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        StorageError: The directory is gone, read-only or full.
    """
    writer = f"{os.uname().nodename}.{os.getpid()}"  # several nodes may write one file at once
    aside = path.with_name(f".{path.name}.{writer}.aside")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            remedy="check that the directory exists, is writable and has space",
            path=str(path),
        ) from error


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a small record as JSON, whole or not at all."""
    write_aside(path, json.dumps(record, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a small record, or None where the file does not exist.

    Raises:
        StorageError: The file cannot be read or is no JSON object.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {path}: {error}", remedy="restore it, or run `batchpilot repair`"
        ) from error
    if not isinstance(record, dict):
        raise StorageError(f"{path} holds no record", remedy="run `batchpilot repair`")
    return record
