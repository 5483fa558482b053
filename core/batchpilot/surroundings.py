"""What our programs are started in: where they find us, and who does not end them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


_PACKAGES = ("batchpilot", "batchpilot_agent", "batchpilot_broker")


def environment() -> dict[str, str]:
    """Return the environment with this installation's source roots, installed or not."""
    return {**os.environ, "PYTHONPATH": python_path(os.environ.get("PYTHONPATH", ""))}


def python_path(old: str) -> str:
    """Return a search path with the source roots of those packages of ours that are loaded."""
    roots = {str(Path(sys.modules[name].__file__ or "").parent.parent) for name in _loaded()}
    return os.pathsep.join(dict.fromkeys(filter(None, [*sorted(roots), *old.split(os.pathsep)])))


def _loaded() -> list[str]:
    return [name for name in _PACKAGES if name in sys.modules]


def scope() -> list[str]:
    """Return the prefix that keeps daemons alive where systemd ends a session's processes."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime, "systemd", "private").exists() and shutil.which("systemd-run"):
        return ["systemd-run", "--user", "--scope", "--quiet", "--collect"]
    return []
