"""Cross designs: which definitions a call asks for, in which order, and how often each.

The order is the original's: for each design of a problem, for each design of an algorithm, their
rows, the problem's slowest; or bound side by side, the shorter one recycled. A definition that
comes up twice is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import product
from numbers import Integral
from typing import Any, NamedTuple

from batchpilot.errors import DefinitionError

from .designs import Design, Row
from .encoding import KEY_SIZE, Encoder


COMBINE = ("crossprod", "bind")
_MOST = 2**31 - 1


class Wanted(NamedTuple):
    """Hold a definition that is asked for.

    Attributes:
        problem: Name of the problem.
        algorithm: Name of the algorithm.
        key: Equal for equal definitions.
        prob_key: Equal for equal parameters of problems.
        algo_key: Equal for equal parameters of algorithms.
        pars: Parameters of the problem, parameters of the algorithm.
        repls: Replications asked for: 1 to this.
    """

    problem: str
    algorithm: str
    key: bytes
    prob_key: bytes
    algo_key: bytes
    pars: tuple[Row, Row]
    repls: int


def read_repls(given: Any, designs: int) -> list[int]:
    """Return the replications of each problem design; one number, or a sequence recycled.

    Raises:
        DefinitionError: It is no whole number from 1, or there are more of them than designs.

    Example:
        >>> read_repls([1, 2], designs=4)
        [1, 2, 1, 2]
    """
    values = [given] if isinstance(given, Integral) else _sequence(given)
    if not values or any(not _is_count(value) for value in values):
        raise DefinitionError(
            f"repls={given!r:.40} is no number of replications",
            remedy="give a whole number from 1, or one for each problem design",
        )
    if len(values) > max(designs, 1):
        raise DefinitionError(
            f"{len(values)} numbers in repls for {designs} problem design(s)",
            remedy="give one number, or one for each problem design",
        )
    return [int(values[at % len(values)]) for at in range(designs)]


def cross(
    problems: Sequence[Design], algorithms: Sequence[Design], repls: Sequence[int], combine: str
) -> tuple[list[Wanted], int]:
    """Return the definitions asked for, each once, and how many experiments were asked for.

    Args:
        problems: Designs of problems.
        algorithms: Designs of algorithms.
        repls: Replications of each problem design.
        combine: "crossprod" or "bind".

    Raises:
        DefinitionError: `combine` is neither, or a parameter cannot be pickled.
    """
    if combine not in COMBINE:
        raise DefinitionError(
            f"combine={combine!r} is no way to combine designs",
            remedy=f"use {' or '.join(map(repr, COMBINE))}",
        )
    encoder = Encoder()
    keyed = [[(row, encoder.key(row)) for row in design.rows] for design in algorithms]
    wanted: dict[bytes, Wanted] = {}
    asked = 0
    for problem, times in zip(problems, repls, strict=True):
        rows = [(row, encoder.key(row)) for row in problem.rows]
        for algorithm, columns in zip(algorithms, keyed, strict=True):
            prefix = f"{problem.name}\0{algorithm.name}\0".encode()
            for (prob, prob_key), (algo, algo_key) in _pairs(rows, columns, combine):
                key = blake2b(prefix + prob_key + algo_key, digest_size=KEY_SIZE).digest()
                asked += times
                if key not in wanted:
                    names, keys, pars = (
                        (problem.name, algorithm.name),
                        (key, prob_key, algo_key),
                        (prob, algo),
                    )
                    wanted[key] = Wanted(*names, *keys, pars, times)
    return list(wanted.values()), asked


def _pairs(rows: Sequence[Any], columns: Sequence[Any], combine: str) -> Iterator[tuple[Any, Any]]:
    if combine == "crossprod":
        return product(rows, columns)
    n = max(len(rows), len(columns))
    return ((rows[at % len(rows)], columns[at % len(columns)]) for at in range(n))


def _sequence(given: Any) -> list[Any]:
    try:
        return [] if isinstance(given, str | bytes | dict) else list(given)
    except TypeError:
        return []


def _is_count(value: Any) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and 1 <= int(value) <= _MOST
