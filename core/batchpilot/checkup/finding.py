"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How something fares: `note` is worth knowing and nothing to mend."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Hold what a check found.

    Attributes:
        check: Name of the check.
        health: How it fares.
        text: What was found.
        remedy: What to do about it, "" where nothing is to be done.
    """

    check: str
    health: Health
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, health=Health.OK, text=text)


def note(check: str, text: str, remedy: str = "") -> Finding:
    """Return what is worth knowing."""
    return Finding(check=check, health=Health.NOTE, text=text, remedy=remedy)


def bad(check: str, text: str, remedy: str) -> Finding:
    """Return what is to be mended."""
    return Finding(check=check, health=Health.BAD, text=text, remedy=remedy)
