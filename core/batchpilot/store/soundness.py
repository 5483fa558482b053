"""Whether the pages of a database make sense: SQLite keeps no checksums of what stands in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from batchpilot_broker.nouns import Outcome

from .changing import ROW_DTYPE
from .database import Transaction
from .outcomes import locate
from .pages import COLUMNS, ENDED_STATES, LIVE_STATES, Column, State, column_size, read_column


_STATES = {Outcome.DONE: State.DONE, Outcome.ERROR: State.ERROR}


def contradictions(tx: Transaction) -> list[str]:
    """Return what cannot be as the pages have it, in words; nothing where all makes sense."""
    torn = list(_torn(tx))
    return torn or [
        f"{what}: {count} job{'s' if count > 1 else ''}" for what, count in _counts(tx) if count
    ]


def _torn(tx: Transaction) -> Iterator[str]:
    """Yield what cannot even be read."""
    for column in COLUMNS:
        sizes = {row[0] for row in tx.db.execute(f"SELECT DISTINCT LENGTH({column}) FROM page")}  # noqa: S608 - a column of ours
        if sizes - {column_size(column)}:
            yield f"a page of {column} has another size"
    odd = tx.db.execute(
        "SELECT COUNT(*) FROM outcome WHERE LENGTH(rows) % ? != 0", (ROW_DTYPE.itemsize,)
    ).fetchone()[0]
    if odd:
        yield f"{odd} records of ends have another size"
    if not isinstance(tx.meta("last_job"), int):
        yield "the number of jobs is none"


def _counts(tx: Transaction) -> Iterator[tuple[str, int]]:
    columns: tuple[Column, ...] = ("state", "attempt", "floor", "submission", "outcome")
    state, attempt, floor, submission, outcome = (read_column(tx.db, name) for name in columns)
    over = np.isin(state, ENDED_STATES)
    yield "unknown state", int((state > max(State)).sum())
    yield "revoked beyond its attempts", int((floor > attempt).sum())
    yield (
        "under way for no submission",
        int((np.isin(state, LIVE_STATES) & (submission == 0)).sum()),
    )
    yield "ended without a record, or not ended with one", int((over != (outcome > 0)).sum())
    ids = np.flatnonzero(over & (outcome > 0)) + 1
    known = {row[0] for row in tx.db.execute("SELECT id FROM outcome")}
    strange = ~np.isin(outcome[ids - 1], np.fromiter(known, np.int64, len(known)))
    yield "ended by a record that is not there", int(strange.sum())
    ids = ids[~strange]
    ends = locate(tx, ids)
    wanted = np.full(256, State.EXPIRED, "u1")
    for end, which in _STATES.items():
        wanted[end] = which
    other = (ends["job"] != ids) | (wanted[ends["outcome"]] != state[ids - 1])
    yield "ended otherwise than its record says", int(other.sum())
    yield "ended by a revoked record", int((ends["attempt"] <= floor[ids - 1]).sum())
