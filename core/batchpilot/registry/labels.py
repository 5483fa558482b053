"""Names and tags of jobs: words of the user's, kept beside the states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batchpilot.asking import by_owner
from batchpilot.columns import objects
from batchpilot.errors import DefinitionError
from batchpilot.ids import JobIds, as_array
from batchpilot.store.database import Transaction
from batchpilot.store.pages import Ids
from batchpilot.store.statements import sql

from .selecting import Selecting


if TYPE_CHECKING:
    import pandas as pd

_TAG = re.compile(r"[A-Za-z0-9_.]+")


class Labelling(Selecting):
    """Give names and tags to jobs."""

    @by_owner
    def set_job_names(self, ids: Any, names: str | Sequence[str | None] | None) -> None:
        """Name jobs; a name goes to the job script, and None takes one away.

        Args:
            ids: Jobs.
            names: One name for each of them, in their order.

        Raises:
            DefinitionError: There are not as many names as jobs.

        Example:
            >>> reg.set_job_names([1, 2], ["first", "second"])
        """
        given = [names] if names is None or isinstance(names, str) else list(names)
        asked = as_array(ids)
        if len(given) != len(asked):
            raise DefinitionError(
                f"{len(given)} names for {len(asked)} jobs", remedy="give one name for each job"
            )
        by_id = dict(zip(asked.tolist(), given, strict=True))
        with self._changing() as tx:
            chosen = self._chosen(tx, asked).tolist()
            pairs = [(job, by_id[job]) for job in chosen]
            tx.db.executemany(sql("drop_name"), [(job,) for job, name in pairs if name is None])
            tx.db.executemany(sql("set_name"), [pair for pair in pairs if pair[1] is not None])

    def get_job_names(self, ids: Any = None) -> pd.DataFrame:
        """Return the columns `job_id job_name`; the name is None where there is none."""
        import pandas as pd  # noqa: PLC0415 - slow, and only needed for tables

        with self._db.read() as tx:
            chosen = self._chosen(tx, ids)
            names = names_of(tx, chosen)
        return pd.DataFrame({"job_id": chosen, "job_name": pd.Series(names, dtype=object)})

    def add_job_tags(self, ids: Any = None, tags: str | Iterable[str] = ()) -> JobIds:
        """Add tags to jobs, by default to all; a tag that a job has already is no matter.

        Args:
            ids: Jobs.
            tags: Tags of letters, digits, `_` and `.`.

        Returns:
            The jobs.

        Raises:
            DefinitionError: A tag holds other characters, or there is none.

        Example:
            >>> reg.add_job_tags(reg.find_jobs("i > 5"), "late")
        """
        return JobIds(self._with_tags(ids, checked_tags(tags), "add_tag", change_only=False))

    def remove_job_tags(self, ids: Any = None, tags: str | Iterable[str] = ()) -> JobIds:
        """Take tags from jobs, by default from all.

        Returns:
            The jobs that had any of them.
        """
        return JobIds(self._with_tags(ids, checked_tags(tags), "drop_tag", change_only=True))

    def get_used_job_tags(self, ids: Any = None) -> list[str]:
        """Return the tags that jobs carry, in the order of the first job that carries each."""
        with self._db.read() as tx:
            chosen = self._chosen(tx, ids)
            pairs = tx.all("all_tags")
        wanted = set(chosen.tolist())
        return list(dict.fromkeys(tag for job, tag in pairs if job in wanted))

    @by_owner
    def _with_tags(
        self, ids: Any, names: list[str], statement: str, *, change_only: bool
    ) -> JobIds:
        with self._changing() as tx:
            chosen = self._chosen(tx, ids)
            if change_only:
                chosen = chosen[np.isin(chosen, _tagged(tx, names))]
            tx.db.executemany(
                sql(statement), [(job, name) for job in chosen.tolist() for name in names]
            )
        return JobIds.trusted(chosen)


def names_of(tx: Transaction, ids: Ids) -> np.ndarray[Any, Any]:
    """Return the names of jobs, None where there is none."""
    names = dict(tx.all("all_names"))
    return objects([names.get(job) for job in ids.tolist()])


def tags_of(tx: Transaction, ids: Ids) -> np.ndarray[Any, Any]:
    """Return the tags of jobs, sorted and joined by commas; None where there are none."""
    tags: dict[int, str] = {}
    for job, tag in tx.all("all_tags"):
        tags[job] = f"{tags[job]},{tag}" if job in tags else tag
    return objects([tags.get(job) for job in ids.tolist()])


def _tagged(tx: Transaction, names: Iterable[str]) -> Ids:
    rows = [job for name in names for (job,) in tx.all("jobs_tagged", name)]
    return np.unique(np.array(rows, np.int64))


def checked_tags(tags: str | Iterable[str]) -> list[str]:
    """Return tags as a list.

    Raises:
        DefinitionError: One holds other characters than letters, digits, `_` and `.`, or there is
            none.
    """
    names: list[Any] = [tags] if isinstance(tags, str) else list(tags)
    bad = [name for name in names if not isinstance(name, str) or not _TAG.fullmatch(name)]
    if bad or not names:
        raise DefinitionError(
            f"{bad[0]!r} is no tag" if bad else "no tag given",
            remedy="a tag is made of letters, digits, '_' and '.'",
        )
    return names
