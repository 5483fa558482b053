"""Agents that are to leave: kept until they have gone, so that whoever is in office tells them.

A name is that of an agent, or, of one that has not come yet, what its batch system calls it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .database import Transaction


_KEY = "dismissed"


def dismissed(tx: Transaction) -> set[str]:
    """Return the names of those that are told to leave."""
    return set(json.loads(tx.meta(_KEY) or "[]"))


def dismiss(tx: Transaction, names: Iterable[str]) -> None:
    """Have agents told to leave."""
    _keep(tx, dismissed(tx) | set(names))


def forget_dismissed(tx: Transaction, names: Iterable[str]) -> None:
    """Forget those that have gone."""
    _keep(tx, dismissed(tx) - set(names))


def _keep(tx: Transaction, names: set[str]) -> None:
    tx.set_meta(_KEY, json.dumps(sorted(names)))
