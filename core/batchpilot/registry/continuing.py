"""Define jobs that go on from the results of another registry: one call for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchpilot.errors import DefinitionError
from batchpilot.functions import JOB, Parameters, check_call, check_more_args, pickle_function
from batchpilot.ids import JobIds
from batchpilot.notices import warn
from batchpilot.store.params import LARGE
from batchpilot.vectors import as_columns, recycle
from batchpilot_agent.callables import ORIGIN, RESULT, Continuing

from .collecting import Collecting
from .defining import Defining
from .labels import checked_tags


class MappingResults(Defining):
    """Define jobs over results."""

    def batch_map_results(  # noqa: PLR0913 - as batch_map, and where the results are
        self,
        fun: Callable[..., Any],
        ids: Any = None,
        *,
        source: Collecting,
        args: Any = None,
        more_args: Mapping[str, Any] | None = None,
        tags: str | Iterable[str] | None = None,
        **vectors: Any,
    ) -> JobIds:
        """Define one job for each result of another registry; nothing runs yet.

        The results are copied as they are, pickled: this registry needs the other no more. A job
        has the parameter `_id`, the job whose result it goes on from, and those of the vectors.

        Args:
            fun: Its first parameter receives the result, the others go by name; a parameter called
                `job` receives the Job.
            ids: Jobs of the source in the order wanted, by default all that are done.
            source: The other registry.
            args: Vectors as in `batch_map`, instead of keywords.
            more_args: Values that are the same for all jobs.
            tags: Labels for all the jobs.
            **vectors: One vector for each further parameter, recycled with the results.

        Returns:
            The ids 1..n.

        Raises:
            DefinitionError: This registry holds jobs already, or fun cannot take the parameters,
                or something cannot be pickled.
            JobNotDone: A job of the source has no result.
            JobFailed: A job of the source ended in an error.

        Example:
            >>> second.batch_map_results(lambda fit, k: predict(fit, k), source=first, k=[1, 5])
        """
        with self._db.read() as tx:
            self._check_empty(tx)
        labels = checked_tags(tags) if tags else []
        columns = as_columns(args, vectors)
        shape = _shape(fun, columns, more_args)
        if not isinstance(source, Collecting):
            raise DefinitionError(
                f"{source!r:.40} is no registry", remedy="load it with bp.load_registry(...)"
            )
        pickle_function(fun)  # refused here, it is refused by its name
        self._check_writeable()
        with self._storing():
            carried = {job: self._carried(data) for job, data in source.pickled_results(ids)}
            columns = recycle({ORIGIN: list(carried), **columns}, warn)
            return self._define_calls(
                Continuing(fun, passes_job=shape.passes_job),
                {**columns, RESULT: [carried[job] for job in columns[ORIGIN]]},
                more_args,
                labels,
                positional=(RESULT,),
                passes_job=True,
                hidden=1,
            )

    def _carried(self, result: bytes) -> bytes | str:
        """Return what a job's parameters carry of a result; a large one is stored by content."""
        return self.objects.put(result) if len(result) > LARGE // 2 else result


def _shape(fun: Any, columns: Iterable[str], more_args: Mapping[str, Any] | None) -> Parameters:
    given = [*columns, *check_more_args(more_args)]
    for name in (JOB, ORIGIN, RESULT):
        if name in given:
            raise DefinitionError(
                f"no parameter can be called {name!r} here", remedy="rename that of the function"
            )
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise DefinitionError(
            f"{', '.join(twice)} given both as a vector and in more_args",
            remedy="give each parameter once",
        )
    return check_call(fun, 1, given)
