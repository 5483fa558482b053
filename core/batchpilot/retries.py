"""Retries: how often jobs that fail are tried again, checked before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpilot_broker.nouns import ResourceClass

from .classes import grown, pack
from .errors import NoSuchPool, SubmissionError
from .pools import Pool
from .resources import check_servable
from .store.retrying import Failure


MOST = 1000
MOST_DOUBLINGS = 20

Retries = int | Mapping[str, int] | None
"""Tries after an error, or a number of tries for each kind of failure."""


def checked_retries(given: Retries) -> dict[str, int]:
    """Return the further tries for each kind of failure, as far as there are any.

    Raises:
        SubmissionError: An unknown kind, or a number that is none.

    Example:
        >>> checked_retries(2), checked_retries({"memory": 1, "error": 0})
        ({'error': 2}, {'memory': 1})
    """
    named = given if isinstance(given, Mapping) else {Failure.ERROR.value: given or 0}
    unknown = sorted(str(name) for name in named if name not in list(Failure))
    if unknown:
        raise SubmissionError(
            f"retries has no kind {', '.join(map(repr, unknown))}",
            remedy=f"use {', '.join(Failure)}",
        )
    for name, number in named.items():
        _check_number(name, number)
    return {str(name): number for name, number in sorted(named.items()) if number}


def check_growth(
    retries: Mapping[str, int],
    resources: Mapping[str, Any],
    needed: ResourceClass,
    pools: Sequence[Pool],
) -> None:
    """Refuse retries that would ask for more than any pool has, or for twice of nothing.

    Raises:
        SubmissionError: There is no limit that could be doubled.
        NoSuchPool: No pool can serve what the last try asks for.
    """
    largest, asked = needed, []
    for name in (Failure.MEMORY, Failure.WALLTIME):
        times = retries.get(name, 0)
        if times and name not in resources:
            raise SubmissionError(
                f"retries={{{name.value!r}: {times}}} without a {name} that could be exceeded",
                remedy=f"give the jobs a limit, for example resources={{{name.value!r}: ...}}",
            )
        if times:
            largest = grown(largest, name, times)
            asked.append(f"{name}={resources[name] * 2**times:g}")
            pack({name: resources[name] * 2**times})
    try:
        check_servable(largest, pools)
    except NoSuchPool as error:
        raise NoSuchPool(
            f"the last retry would ask for {' and '.join(asked)}: {error.message}",
            remedy="allow fewer retries, or assign reg.pools with agents that are large enough",
        ) from error


def _check_number(name: str, number: object) -> None:
    most = MOST if name == Failure.ERROR else MOST_DOUBLINGS
    whole = isinstance(number, int) and not isinstance(number, bool)
    if not whole or not 0 <= number <= most:  # type: ignore[operator]  # an int, as just asked
        raise SubmissionError(
            f"retries={{{str(name)!r}: {number!r}}} must be a whole number of 0..{most}",
            remedy="change it and submit again",
        )
