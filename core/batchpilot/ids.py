"""What every call accepts as `ids`, and what the command line does.

`coerce_ids` is the one gate for an argument called `ids`: duplicates are an error, unknown ids are
dropped with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import DefinitionError
from batchpilot.jobids import JobIds, as_array, refuse_duplicates, some
from batchpilot.notices import BatchpilotWarning, warn
from batchpilot.store.pages import Ids, State, ids_of


States = NDArray[np.uint8] | Callable[[Ids], NDArray[np.uint8]]
Default = JobIds | Ids | Callable[[], JobIds | Ids] | None


def coerce_ids(
    ids: object, *, states: States, default: Default = None, keep_order: bool = False
) -> Ids:
    """Return the ids of existing jobs among what a caller gave for them, as an array.

    Args:
        ids: None for the default, or anything `JobIds` takes.
        states: States of all jobs (`read_column(..., "state")`), or a function from ids to their
            states.
        default: The ids that None stands for, or a function that finds them.
        keep_order: Keep the order given; else they are sorted.

    Raises:
        DefinitionError: An id occurs twice or is no whole number, or None has no default.
    """
    if ids is None:
        return _default(default)
    array = as_array(ids)
    refuse_duplicates(array)
    array = _drop_unknown(array, states)
    return array if keep_order or bool((np.diff(array) > 0).all()) else np.sort(array)


class Selectable(Protocol):
    """Be a registry in which ids can be looked up."""

    def find_jobs(self) -> JobIds:
        """Return all ids."""

    def find_tagged(self, tags: str) -> JobIds:
        """Return the ids that carry a tag."""


_STATES = (
    *("submitted", "not_submitted", "queued", "started", "not_started", "running", "on_system"),
    *("done", "not_done", "error", "expired"),
)
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def parse_selector(text: str, registry: Selectable) -> JobIds:
    """Return the ids that a selector of the command line means.

    Args:
        text: Terms separated by commas: `15`, `1-10`, `@error` (any state of `find_*`), `tag:x`,
            `all`.
        registry: Where states and tags are looked up; numbers that are no job are dropped with a
            warning.

    Raises:
        DefinitionError: A term is none of these.
    """
    found = JobIds()
    numbers: list[tuple[int, int]] = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        if match := _RANGE.fullmatch(term):
            numbers.append((int(match[1]), int(match[2] or match[1])))
        else:
            found |= _looked_up(term, registry)
    return found | _numbered(numbers, registry) if numbers else found


def _numbered(ranges: list[tuple[int, int]], registry: Selectable) -> JobIds:
    """Return the jobs in ranges; of what lies beyond the last one id is kept, to be warned of."""
    everyone = registry.find_jobs()
    beyond = everyone[-1] + 1 if len(everyone) else 1
    rows = [(first, min(last, max(first, beyond))) for first, last in ranges if first <= last]
    asked = np.unique(ids_of(np.array(rows, np.int64))) if rows else np.empty(0, np.int64)
    return JobIds.trusted(coerce_ids(asked, states=lambda ids: np.isin(ids, everyone).view("u1")))


def _looked_up(term: str, registry: Selectable) -> JobIds:
    state = term.removeprefix("@").replace("-", "_")
    if term == "all":
        return registry.find_jobs()
    if term.startswith("tag:"):
        return registry.find_tagged(term.removeprefix("tag:"))
    if term.startswith("@") and state in _STATES:
        found: JobIds = getattr(registry, f"find_{state}")()
        return found
    raise DefinitionError(
        f"{term!r} selects no jobs",
        remedy=f"use ids (1-10,15), tag:NAME, all, or one of @{', @'.join(_STATES)}",
    )


def _drop_unknown(array: Ids, states: States) -> Ids:
    there: NDArray[np.bool_] = _states_of(array, states) != State.ABSENT
    if bool(there.all()):
        return array
    gone, kept = array[~there], array[there]
    warn(f"Ignoring {len(gone)} invalid job id(s): {some(gone)}")
    return kept


def _states_of(array: Ids, states: States) -> NDArray[np.uint8]:
    if callable(states):
        return states(array)
    inside = (array >= 1) & (array <= len(states))
    if bool(inside.all()):
        every: NDArray[np.uint8] = states[array - 1]
        return every
    taken = np.zeros(len(array), np.uint8)
    taken[inside] = states[array[inside] - 1]
    return taken


def _default(default: Default) -> Ids:
    ids = default() if callable(default) else default
    if ids is None:
        raise DefinitionError("no ids given", remedy="say which jobs, for example reg.find_done()")
    return as_array(ids)


__all__ = ["BatchpilotWarning", "JobIds", "as_array", "coerce_ids", "parse_selector"]
