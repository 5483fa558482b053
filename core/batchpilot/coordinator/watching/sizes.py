"""How large the registry's files are: measured seldom, by a thread, never by a scrape.

A shared file system may take seconds to list a directory, or hang, and the coordinator does not
wait for it. The thread pauses a hundred times as long as it took.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchpilot_broker.paths import RegistryPaths


AT_LEAST = 60.0
SHARE = 100.0

_log = logging.getLogger("batchpilot.coordinator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Hold what was measured.

    Attributes:
        at: Unix time, 0 while nothing was.
        parts: Bytes and files by component.
        free: Bytes free on the file system.
        capacity: Its bytes.
        backup: When the newest backup was made, 0 for never.
    """

    at: float = 0.0
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    free: int = 0
    capacity: int = 0
    backup: float = 0.0


def measure(paths: RegistryPaths) -> Sizes:
    """Measure a registry; files of the jobs' own are left out, there may be any number.

    Raises:
        OSError: The file system does not answer.
    """
    disk = os.statvfs(paths.root)
    directories = (paths.objects, paths.segments, paths.allocations, paths.logs, paths.backup)
    parts = {path.name: _measured(path) for path in directories}
    parts["database"] = _measured(paths.root, "registry-")
    return Sizes(
        at=time.time(),
        parts=parts,
        free=disk.f_bavail * disk.f_frsize,
        capacity=disk.f_blocks * disk.f_frsize,
        backup=max((path.stat().st_mtime for path in paths.backup.glob("*.db")), default=0.0),
    )


def _measured(directory: Path, prefix: str = "") -> tuple[int, int]:
    """Return bytes and number of the files below a directory; what goes meanwhile is gone."""
    size = files = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith(prefix):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    inner = (0, 0) if prefix else _measured(Path(entry.path))
                else:
                    inner = entry.stat(follow_symlinks=False).st_size, 1
                size, files = size + inner[0], files + inner[1]
    except FileNotFoundError:
        return size, files
    return size, files


class SizeWatch(threading.Thread):
    """Measure again and again, until told to stop.

    Args:
        paths: The registry's files.

    Attributes:
        sizes: What was measured last.
    """

    def __init__(self, paths: RegistryPaths) -> None:
        super().__init__(name="sizes", daemon=True)
        self._paths = paths
        self._stopped = threading.Event()
        self.sizes = Sizes()

    def run(self) -> None:
        """Measure."""
        pause = 0.0
        while not self._stopped.wait(pause):
            started = time.monotonic()
            try:
                self.sizes = measure(self._paths)
            except OSError as error:
                _log.warning("the registry's files cannot be measured: %s", error)
            pause = max(AT_LEAST, SHARE * (time.monotonic() - started))

    def stop(self) -> None:
        """Let the thread end; it is not waited for, its file system may hang."""
        self._stopped.set()
