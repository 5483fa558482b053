"""How fast jobs end, told from the registry alone: its only history is the ends themselves."""

from __future__ import annotations

import numpy as np

from .store.changing import ROW_DTYPE, Rows
from .store.database import Transaction


WINDOW = 60.0
LONG_WINDOW = 3600.0
ENOUGH = 20
AT_MOST = 200_000


def recent_pace(tx: Transaction, now: float) -> float | None:
    """Return the jobs ended per second of late, None where none has.

    The last minute counts if at least 20 jobs have ended in it, else the last hour; time before the
    first of these jobs had begun does not count.

    Args:
        tx: A view of the registry's database.
        now: Unix time.
    """
    rows = _newest(tx, now)
    recent = rows["ended"] >= now - WINDOW
    if recent.sum() < ENOUGH:
        recent = rows["ended"] >= now - LONG_WINDOW
    if not recent.any():
        return None
    before = rows["ended"][~recent].max(initial=0.0)
    since = max(float(before), float(rows["started"][recent].min()))
    return float(recent.sum()) / max(now - since, 1e-3)


def _newest(tx: Transaction, now: float) -> Rows:
    """Return the ends that may matter, the newest first."""
    blocks = [np.empty(0, ROW_DTYPE)]
    count = 0
    cursor = tx.execute("newest_outcomes")
    for (blob,) in cursor:
        blocks.append(np.frombuffer(blob, ROW_DTYPE))
        count += len(blocks[-1])
        oldest = float(blocks[-1]["ended"].min())
        window = WINDOW if count >= ENOUGH else LONG_WINDOW
        if oldest < now - window or count >= AT_MOST:
            break
    cursor.close()
    return np.concatenate(blocks)
