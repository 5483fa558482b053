"""Spread what many agents would do at the same moment: pure functions of a number drawn at random.

An array of hundreds of agents starts within a second, and loses its broker within a second. Each
waits a moment of its own, so that the broker and the file system see a stream and no wave.
"""

from __future__ import annotations

import os


A_SECOND = 50
"""Agents that may come to the broker in a second."""

LONGEST = 10.0


def head_start(crowd: int, draw: float) -> float:
    """Return the seconds that one of a crowd waits before it comes to the broker.

    Args:
        crowd: Agents that start together.
        draw: A number in [0, 1), its own.

    Example:
        >>> head_start(1, 0.9), head_start(101, 0.5)
        (0.0, 1.0)
    """
    return draw * min((crowd - 1) / A_SECOND, LONGEST)


def spread(pause: float, draw: float) -> float:
    """Return a pause made shorter or longer by up to a half.

    Example:
        >>> spread(2.0, 0.0), spread(2.0, 0.5)
        (1.0, 2.0)
    """
    return pause * (0.5 + draw)


def drawn() -> float:
    """Draw a number in [0, 1) that no other agent draws; `random` would take long to import."""
    return int.from_bytes(os.urandom(4), "little") / 2**32
