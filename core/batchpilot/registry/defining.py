"""Define the jobs of a map: one call of a function for each row of the vectors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgpack
import numpy as np

from batchpilot.asking import by_owner
from batchpilot.epochs import Definition, store_epoch
from batchpilot.errors import DefinitionError
from batchpilot.functions import (
    JOB,
    Parameters,
    check_more_args,
    describe_function,
    pickle_function,
    pickle_value,
)
from batchpilot.ids import JobIds
from batchpilot.notices import warn
from batchpilot.store.database import Transaction
from batchpilot.store.pages import Ids, State
from batchpilot.store.params import ParsEncoder, append_pars
from batchpilot.store.statements import sql
from batchpilot.vectors import RESERVED, as_columns, recycle

from .configuring import Configuring
from .labels import checked_tags


_BY_KEYWORD: Any = object()


class Defining(Configuring):
    """Define jobs."""

    def batch_map(
        self,
        fun: Any = _BY_KEYWORD,
        /,
        *,
        args: Any = None,
        more_args: Mapping[str, Any] | None = None,
        tags: str | Iterable[str] | None = None,
        **vectors: Any,
    ) -> JobIds:
        """Define one job for each row of the vectors; nothing runs yet.

        Vectors are recycled to the length of the longest, as in R's mapply. Lists, tuples,
        ranges, arrays, Series and iterators are vectors; strings, bytes, dicts, sets, None and
        scalars have length one. Elements of numeric arrays become plain Python numbers.

        Args:
            fun: Called by name with the values of a row, then `more_args`; a parameter called
                `job` receives the Job.
            args: The vectors as a dict (such as `bp.grid` makes), a DataFrame or a list of dicts,
                instead of keywords.
            more_args: Values that are the same for all jobs.
            tags: Labels for all the jobs.
            **vectors: One vector for each parameter.

        Returns:
            The ids 1..n; none where a vector is empty.

        Raises:
            DefinitionError: The registry holds jobs already, or fun cannot take the parameters,
                or something cannot be pickled. Nothing was written.

        Example:
            >>> reg.batch_map(lambda i, j: i + j, i=range(1, 10), j=range(9, 0, -1))
            JobIds(1-9)
        """
        fun = vectors.pop("fun", None) if fun is _BY_KEYWORD else fun
        with self._db.read() as tx:
            self._check_empty(tx)
        labels = checked_tags(tags) if tags else []
        columns = recycle(as_columns(args, vectors), warn)
        shape = shape_of(fun, columns, more_args)
        return self._define_calls(
            fun,
            columns,
            more_args,
            labels,
            positional=tuple(name for name in shape.positional if name in columns),
            passes_job=shape.passes_job and JOB not in (*columns, *(more_args or ())),
        )

    def _define_calls(  # noqa: PLR0913 - all that a call is made of
        self,
        fun: Any,
        columns: Mapping[str, Sequence[Any]],
        more_args: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        *,
        positional: Sequence[str] = (),
        passes_job: bool = False,
        hidden: int = 0,
    ) -> JobIds:
        """Define one call of a function for each row of equally long columns.

        Args:
            fun: What is called.
            columns: Its values by name.
            more_args: Values that are the same for all jobs.
            tags: Labels for all the jobs.
            positional: Columns that go by position, in that order.
            passes_job: Whether it is given the Job.
            hidden: How many of the last columns no table shows.
        """
        # All is pickled before anything is stored: what is refused leaves nothing behind.
        function = pickle_function(fun)
        static = pickle_value(dict(more_args), "more_args") if more_args else None
        self._check_writeable()
        with self._storing():
            encoder = ParsEncoder(self.objects)
            pickles = encoder.encode(list(columns.values())) if columns else []
            definition = Definition(
                function=self.objects.put(function),
                names=tuple(columns),
                positional=tuple(positional),
                passes_job=passes_job,
                more_args=None if static is None else self.objects.put(static),
            )
            ids = self._define(definition, pickles, tags, big=encoder.has_large, hidden=hidden)
        self._db.try_to_back_up()
        return ids

    def _define(
        self,
        definition: Definition,
        pickles: Sequence[bytes],
        tags: Iterable[str],
        *,
        big: bool,
        hidden: int,
    ) -> JobIds:
        epoch = store_epoch(
            self.objects,
            definition,
            work_dir=self.work_dir,
            dependencies=self._dependencies(),
        )
        facts = {"epoch": epoch, "big_pars": int(big), "hidden": hidden}
        return JobIds(self._add_map(definition, pickles, list(tags), facts))

    @by_owner
    def _add_map(
        self,
        definition: Definition,
        pickles: Sequence[bytes],
        tags: list[str],
        facts: Mapping[str, Any],
    ) -> Ids:
        with self._changing() as tx:
            self._check_empty(tx)
            tx.set_meta("definition", msgpack.packb(asdict(definition)))
            tx.set_meta("names", json.dumps(definition.names))
            for name in ("epoch", "big_pars", "hidden"):
                tx.set_meta(name, facts[name])
            ids = add_jobs(tx, pickles)
            tx.db.executemany(
                sql("add_tag"), [(job, name) for job in ids.tolist() for name in tags]
            )
        return ids

    def _check_empty(self, tx: Transaction) -> None:
        if self.kind != "map":
            raise DefinitionError(
                f"{self.paths.root} is a registry of experiments",
                remedy="define them with add_problem, add_algorithm and add_experiments; a map"
                " goes into a registry made with bp.make_registry(...)",
            )
        if self._last_job(tx):
            raise DefinitionError(
                f"{self.paths.root} holds {self._last_job(tx)} jobs already",
                remedy="make another registry for another map",
            )


def add_jobs(tx: Transaction, pickles: Sequence[bytes]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Add one job for each pickled row of parameters and return their ids."""
    last = int(tx.meta("last_job"))
    append_pars(tx, last, pickles)
    ids = np.arange(last + 1, last + len(pickles) + 1)
    tx.pages.put("state", ids, State.DEFINED)
    tx.set_meta("last_job", last + len(pickles))
    return ids


def shape_of(fun: Any, vectors: Iterable[str], more_args: Any) -> Parameters:
    """Return what a function takes; refuse what it could not be called with."""
    if not callable(fun):
        raise DefinitionError(f"{fun!r:.40} is no function", remedy="give a function as `fun`")
    shape = describe_function(fun)
    _check_names(shape, vectors, check_more_args(more_args))
    return shape


def _check_names(shape: Parameters, vectors: Iterable[str], more_args: Iterable[str]) -> None:
    """Refuse what the function could not be called with."""
    given = [*vectors, *more_args]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise DefinitionError(
            f"{', '.join(twice)} given both as a vector and in more_args",
            remedy="give each parameter once",
        )
    unknown = [name for name in given if not shape.accepts(name)]
    if unknown:
        raise DefinitionError(
            f"{shape.name}() has no parameter {', '.join(map(repr, unknown))}",
            remedy=f"its parameters are {', '.join(shape.names) or '(none)'}",
        )
    missing = [name for name in shape.required if name not in given and name != JOB]
    if given and missing:
        raise DefinitionError(
            f"{shape.name}() needs {', '.join(map(repr, missing))}",
            remedy=_how_to_give(missing[0]),
        )


def _how_to_give(name: str) -> str:
    if name in RESERVED:
        return f"pass args={{{name!r}: ...}}: as a keyword it means something else"
    return "give it as a vector or in more_args"
