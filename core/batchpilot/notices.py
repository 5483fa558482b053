"""Warnings that point at the line of the user's that caused them."""

from __future__ import annotations

import sys
import warnings


class BatchpilotWarning(UserWarning):
    """Warn of something that was ignored, or that did not come in time."""


def warn(message: str) -> None:
    """Warn at the first line outside batchpilot."""
    level = 2
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the caller's frame
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
        level += 1
    warnings.warn(message, BatchpilotWarning, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "batchpilot"
