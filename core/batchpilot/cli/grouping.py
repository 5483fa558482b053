"""Failed jobs grouped by what went wrong.

Messages that differ only in numbers, addresses and the like are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from batchpilot.ids import JobIds


_VARIABLE = re.compile(
    r"""
    0x[0-9a-fA-F]+                      # an address
    | \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b   # a uuid
    | \b(?=[a-f]*\d)[0-9a-f]{8,}\b      # a hash
    | [-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Hold the failed jobs of one kind.

    Attributes:
        message: The message of the first of them.
        ids: The jobs.
    """

    message: str
    ids: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Return the number of jobs."""
        return len(self.ids)

    @property
    def headline(self) -> str:
        """Return the message on one line."""
        return " ".join(self.message.split()) or "(no message)"


def group_failures(failures: Iterable[tuple[int, str]]) -> list[Group]:
    """Return (job, message) pairs as groups, the largest first, equals by their first job.

    Example:
        >>> [g.ids for g in group_failures([(1, "no file 1"), (2, "no file 7"), (3, "boom")])]
        [[1, 2], [3]]
    """
    groups: dict[str, Group] = {}
    for job, message in failures:
        groups.setdefault(normalise(message), Group(message=message)).ids.append(job)
    return sorted(groups.values(), key=lambda group: (-group.count, group.ids[0]))


def normalise(message: str) -> str:
    """Return what a message has in common with others of its kind."""
    return _VARIABLE.sub("#", " ".join(message.split()))


def short_ids(ids: Iterable[int], most: int = 3) -> str:
    """Return ids as `1-10,15`, at most some ranges of them.

    Example:
        >>> short_ids([1, 2, 3, 7, 9, 11])
        '1-3,7,9,...'
    """
    ranges = JobIds(ids).ranges()
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:most]]
    return ",".join(texts) + (",..." if len(ranges) > most else "")
