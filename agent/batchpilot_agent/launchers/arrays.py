"""Array jobs: their parts, their job scripts' numbers, and times as batch systems write them."""

from __future__ import annotations

import math


def parts(agents: int, largest: int) -> list[int]:
    """Return the sizes of the arrays that hold so many agents.

    Example:
        >>> parts(2500, 1000)
        [1000, 1000, 500]
    """
    full, rest = divmod(agents, largest)
    return [largest] * full + [rest] * bool(rest)


def job_name(pool: str) -> str:
    """Return a name that every batch system takes: 15 plain characters, a letter first.

    Example:
        >>> job_name("my pool [2]")
        'bp-my-pool--2-'
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in pool)
    return f"bp-{plain}"[:15]


def minutes(seconds: float) -> int:
    """Return whole minutes, rounded up: no batch system counts less.

    Example:
        >>> minutes(61)
        2
    """
    return max(1, math.ceil(seconds / 60))


def hms(seconds: float) -> str:
    """Return a time as H:MM:SS.

    Example:
        >>> hms(3661)
        '1:01:01'
    """
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
