"""Whether two registries have the same jobs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .database import Transaction
from .pages import PAGE, State, read_column


def first_difference(here: Transaction, there: Transaction) -> tuple[int, str] | None:
    """Return the first job that is not the same in both registries, and why; None: all are.

    Parameters are compared as they are kept, without unpickling them.
    """
    if here.meta("names") != there.meta("names"):
        return 1, "the names of the parameters differ"
    mine, theirs = (read_column(tx.db, "state") != State.ABSENT for tx in (here, there))
    both = min(len(mine), len(theirs))
    missing = np.flatnonzero(mine[:both] != theirs[:both]) + 1
    alone = int(missing[0]) if len(missing) else both + 1
    for k in range(-(-both // PAGE)):
        places = np.flatnonzero(mine[k * PAGE : (k + 1) * PAGE])
        job = _first_on_page(here, there, k, places)
        if job is not None and job < alone:
            return job, "its parameters differ"
    same = not len(missing) and len(mine) == len(theirs)
    return None if same else (alone, "only one of the two has it")


def _first_on_page(
    here: Transaction, there: Transaction, k: int, places: NDArray[np.int64]
) -> int | None:
    """Return the first job of a page whose parameters differ; places count from its beginning."""
    mine, theirs = (tx.execute("read_pars", k).fetchone() for tx in (here, there))
    if mine == theirs:
        return None
    a, b = np.frombuffer(mine[0], "<u4"), np.frombuffer(theirs[0], "<u4")
    for at in places[places < min(len(a), len(b)) - 1].tolist():
        if mine[1][a[at] : a[at + 1]] != theirs[1][b[at] : b[at + 1]]:
            return int(k * PAGE + at + 1)
    return None
