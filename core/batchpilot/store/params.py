"""Parameters of jobs: one pickle a job, end to end in pages of 1024.

So the parameters of a chunk are a slice of bytes, and the coordinator never unpickles them. A
value that makes a job's pickle larger than 64 KB is stored once by content in `objects/` and
stands in the pickle as the persistent id ("object", hash).
"""

from __future__ import annotations

import io
import pickle
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from batchpilot.errors import DefinitionError
from batchpilot_agent.objects import ObjectStore

from .database import Transaction
from .pages import PAGE, Ids, ranges_of


LARGE = 65_536
_PLAIN = frozenset((int, float, str, bool, bytes, type(None)))


class ParsEncoder:
    """Turn rows of values into pickles.

    Args:
        objects: Where large values go.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._hashes: dict[int, tuple[Any, str]] = {}
        self.has_large = False

    def encode(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Return one pickled tuple for each row of equally long columns.

        Raises:
            DefinitionError: A value cannot be pickled; the message names its row.
        """
        rows = zip(*columns, strict=True)
        if all(map(_is_plain, columns)):
            return self._each(rows, _dumps_plain)
        return self._each(rows, self._dumps)

    def _each(self, rows: Iterable[tuple[Any, ...]], dumps: Callable[[Any], bytes]) -> list[bytes]:
        out: list[bytes] = []
        for row in rows:
            data = dumps(row)
            out.append(self._with_objects(row) if len(data) > LARGE else data)
        return out

    def _dumps(self, row: tuple[Any, ...]) -> bytes:
        if self.has_large:
            return self._with_objects(row)
        try:
            return bytes(cloudpickle.dumps(row, protocol=5))
        except Exception as error:  # a user's object may raise anything while it is pickled
            raise DefinitionError(
                f"the parameters {_short(row)} cannot be pickled: {error}",
                remedy="pass what is needed to make the object inside the job instead",
            ) from error

    def _with_objects(self, row: tuple[Any, ...]) -> bytes:
        self.has_large = True
        buffer = io.BytesIO()
        pickler = cloudpickle.Pickler(buffer, protocol=5)
        pickler.persistent_id = self._persistent_id
        pickler.dump(row)
        return buffer.getvalue()

    def _persistent_id(self, value: Any) -> tuple[str, str] | None:
        size = getattr(value, "nbytes", None) or (
            len(value) if isinstance(value, str | bytes) else 0
        )
        if not isinstance(size, int) or size <= LARGE:
            return None
        known = self._hashes.get(id(value))
        if known is None:
            # the value is kept so that its id cannot pass to another object
            known = (value, self._objects.put(cloudpickle.dumps(value, protocol=5)))
            self._hashes[id(value)] = known
        return ("object", known[1])


class ParsReader:
    """Give the parameters of chunks as bytes, keeping the pages last used."""

    def __init__(self, pages_kept: int = 16) -> None:
        self._kept: OrderedDict[int, tuple[NDArray[np.int64], bytes]] = OrderedDict()
        self._limit = pages_kept

    def slice(self, tx: Transaction, ids: Ids) -> tuple[bytes, bytes]:
        """Return (offsets, pickles) of jobs in their order, offsets as little-endian uint32."""
        pieces: list[bytes] = []
        sizes: list[NDArray[np.int64]] = []
        for first, last in ranges_of(ids).tolist():
            start = first - 1
            while start < last:
                k, index = divmod(start, PAGE)
                stop = min(last - k * PAGE, PAGE)
                offsets, data = self._page(tx, k)
                pieces.append(data[offsets[index] : offsets[stop]])
                sizes.append(np.diff(offsets[index : stop + 1]))
                start = k * PAGE + stop
        bounds = np.concatenate(([0], np.cumsum(np.concatenate(sizes)))) if sizes else np.zeros(1)
        return bounds.astype("<u4").tobytes(), b"".join(pieces)

    def _page(self, tx: Transaction, k: int) -> tuple[NDArray[np.int64], bytes]:
        page = self._kept.get(k)
        if page is None:
            offsets, data = tx.execute("read_pars", k).fetchone()
            page = (np.frombuffer(offsets, "<u4").astype(np.int64), data)
            self._kept[k] = page
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(k)
        return page


def append_pars(tx: Transaction, after: int, pickles: Sequence[bytes]) -> None:
    """Write the parameters of the jobs after `after`."""
    done = 0
    while done < len(pickles):
        k, index = divmod(after + done, PAGE)
        batch = pickles[done : done + PAGE - index]
        row = tx.execute("read_pars", k).fetchone() if index else None
        old = np.frombuffer(row[0], "<u4") if row else np.zeros(1, "<u4")
        sizes = np.fromiter(map(len, batch), np.int64, len(batch))
        offsets = np.concatenate((old, int(old[-1]) + np.cumsum(sizes))).astype("<u4")
        data = (row[1] if row else b"") + b"".join(batch)
        tx.execute("write_pars", k, offsets.tobytes(), data)
        done += len(batch)


def clear_pars(tx: Transaction, ids: Ids) -> None:
    """Forget the parameters of jobs that are gone, so that nothing in them is kept for them."""
    for k in np.unique((ids - 1) // PAGE).tolist():
        blob, data = tx.execute("read_pars", k).fetchone()
        offsets = np.frombuffer(blob, "<u4").astype(np.int64)
        kept = np.ones(len(offsets) - 1, bool)
        gone = ids - 1 - k * PAGE
        kept[gone[(gone >= 0) & (gone < len(kept))]] = False
        bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), kept.tolist(), strict=True)
        pieces = [data[start:end] if keep else b"" for start, end, keep in bounds]
        ends = np.cumsum([0, *map(len, pieces)])
        tx.execute("write_pars", k, ends.astype("<u4").tobytes(), b"".join(pieces))


def _is_plain(column: Sequence[Any]) -> bool:
    """Tell whether the plain pickler does as well for values, or for dicts of values."""
    kinds = set(map(type, column))
    if kinds != {dict}:
        return kinds <= _PLAIN
    return all(_PLAIN.issuperset(map(type, value.values())) for value in column)


def _dumps_plain(row: tuple[Any, ...]) -> bytes:
    return pickle.dumps(row, 5)


def _short(value: Any) -> str:
    return textwrap.shorten(repr(value), 80)
