"""How long jobs of a class have taken at an agent, by which it reckons whether others can end."""

from __future__ import annotations

import numpy as np

from .changing import ROW_DTYPE
from .database import Transaction


EVENTS = 20
"""Events of the agent that are looked at, the newest: it forgets what was long ago, too."""


def seconds_taken(tx: Transaction, agent: str, class_id: str) -> float:
    """Return what jobs of a class have taken at an agent of late, 0 where nothing is known."""
    blobs = [blob for (blob,) in tx.all("outcomes_of_agent", agent, EVENTS)]
    rows = np.frombuffer(b"".join(blobs), ROW_DTYPE)
    submissions = tx.pages.take("submission", rows["job"].astype(np.int64))
    ours = [n for n in np.unique(submissions).tolist() if _class_of(tx, n) == class_id]
    rows = rows[np.isin(submissions, ours)]
    return float(np.mean(rows["ended"] - rows["started"])) if len(rows) else 0.0


def _class_of(tx: Transaction, submission: int) -> str:
    row = tx.execute("read_submission", submission).fetchone()
    return str(row[1]) if row else ""
