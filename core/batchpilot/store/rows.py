"""Parameters of jobs as Python values: rows of tuples in the order of the registry's names."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from batchpilot.errors import ResultUnreadable
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.slot.values import ValueReader

from .database import Transaction
from .pages import PAGE, Ids


Row = tuple[Any, ...]


class ParameterRows:
    """Read parameters in one transaction.

    Args:
        tx: A view of the registry's database.
        objects: Where large values are.
    """

    def __init__(self, tx: Transaction, objects: ObjectStore) -> None:
        self._tx = tx
        self.names: tuple[str, ...] = tuple(json.loads(tx.meta("names", "[]")))
        self._load = ValueReader(objects).read if tx.meta("big_pars") else pickle.loads

    def blocks(self, ids: Ids) -> Iterator[tuple[Ids, list[Row]]]:
        """Yield sorted ids in blocks of at most a page, each with the rows of its jobs.

        Raises:
            ResultUnreadable: A value cannot be unpickled in this process.
        """
        keys = (ids - 1) // PAGE
        for block in np.split(ids, np.flatnonzero(np.diff(keys)) + 1):
            if len(block):
                yield block, self._rows(block)

    def rows(self, ids: Ids) -> list[Row]:
        """Return the rows of sorted ids."""
        return [row for _, rows in self.blocks(ids) for row in rows]

    def _rows(self, block: Ids) -> list[Row]:
        k = int(block[0] - 1) // PAGE
        blob, data = self._tx.execute("read_pars", k).fetchone()
        offsets = np.frombuffer(blob, "<u4")
        at = block - 1 - k * PAGE
        view, load = memoryview(data), self._load
        bounds = zip(offsets[at].tolist(), offsets[at + 1].tolist(), strict=True)
        rows: list[Row] = []
        try:
            for start, end in bounds:
                rows.append(load(view[start:end]))
        except Exception as error:  # a user's object may raise anything while it is unpickled
            raise ResultUnreadable(
                f"the parameters of job {block[len(rows)]} cannot be unpickled here: {error}",
                remedy="make the modules they come from importable in this session",
            ) from error
        return rows
