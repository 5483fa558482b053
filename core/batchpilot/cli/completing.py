"""Complete words of the command line: registries, states, tags.

States are always the same; tags are looked up, in at most a fifth of a second.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from batchpilot.store.statements import sql
from batchpilot_broker.errors import BatchpilotError
from batchpilot_broker.files import read_json


SECONDS = 0.2
WORDS = "batchpilot.words"
"""Where a command notes the words [REG] [IDS] that stand before the one to be completed."""

_STATES = (
    *("submitted", "not-submitted", "queued", "started", "not-started", "running", "on-system"),
    *("done", "not-done", "error", "expired"),
)
_STEPS = 1000

Items = list["CompletionItem[str]"]


def complete_registry(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    """Return what a shell takes as the order to complete directories."""
    return [CompletionItem(incomplete, type="dir")]


def complete_target(context: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """Return directories for the first word of [REG] [IDS], selectors for what looks like one."""
    before: tuple[str, ...] = context.meta.get(WORDS, ())
    done, comma, part = incomplete.rpartition(",")
    if not before and not comma and not part.startswith(("@", "tag:")):
        return complete_registry(context, _, incomplete)
    selectors = _tags(before) if part.startswith("tag:") else ("all", "tag:", *_states())
    return _matching((f"{done}{comma}{selector}" for selector in selectors), incomplete)


def _states() -> Iterable[str]:
    return (f"@{state}" for state in _STATES)


def _matching(words: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _tags(before: tuple[str, ...]) -> list[str]:
    """Return the tags in use in the registry that the words name, none where that takes long."""
    root = Path(before[0] if before and Path(before[0]).is_dir() else "registry")
    try:
        owner = read_json(root / "owner.json")
        if owner is None:
            return []
        connection = sqlite3.connect(
            f"{(root / str(owner['database'])).absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=SECONDS,
        )
        try:
            deadline = time.monotonic() + SECONDS
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            return [f"tag:{tag}" for (tag,) in connection.execute(sql("used_tags"))]
        finally:
            connection.close()
    except (BatchpilotError, sqlite3.Error, KeyError):
        return []
