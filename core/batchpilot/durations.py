"""Times as people say them."""

from __future__ import annotations


MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return a time as people say it; one below 0, of a clock that was set back, is none.

    Example:
        >>> duration(0.4), duration(42), duration(125), duration(7500), duration(200000)
        ('0.4 s', '42 s', '2 min 5 s', '2 h 5 min', '2 d 7 h')
    """
    seconds = max(0.0, seconds)
    whole = round(seconds)
    if seconds < 9.95:  # noqa: PLR2004 - below ten seconds tenths are told
        return f"{seconds:.1f} s"
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"
