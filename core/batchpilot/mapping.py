"""Map a function over vectors on the pools, in one call: define, submit, wait, collect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from batchpilot_agent.callables import Applying

from .chunking import chunk
from .errors import BatchpilotError, DefinitionError, JobFailed, JobNotDone
from .functions import first_parameter
from .ids import JobIds
from .registry.whole import Registry, make_registry
from .vectors import as_columns


def bt_map(  # noqa: PLR0913 - what a map is made of, and how it is run
    fun: Callable[..., Any],
    xs: Any = None,
    /,
    *,
    args: Any = None,
    more_args: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    n_chunks: int | None = None,
    chunk_size: int | None = None,
    reg: Registry | None = None,
    **vectors: Any,
) -> list[Any]:
    """Map a function over vectors as jobs, wait for them, and return their results in order.

    Args:
        fun: Called with each element of `xs` by position, or by name with each row of the vectors.
        xs: One vector.
        args: Several vectors, as a dict, DataFrame or list of dicts.
        more_args: Values that are the same for all calls.
        resources: What each job needs, as in `submit_jobs`.
        n_chunks: Run the jobs in so many chunks, those of one after another in one slot.
        chunk_size: Run them in chunks of at most so many jobs.
        reg: An empty registry; by default a temporary one, which is removed in the end. Where a
            job fails it is kept, and the error says where.
        **vectors: Several vectors as keywords, recycled as in `batch_map`.

    Raises:
        DefinitionError: Nothing was given to map over, or `batch_map` refuses it.
        SubmissionError: `submit_jobs` refuses the resources.
        JobFailed: A job has no result; the message is that of the first.

    Example:
        >>> bt_map(lambda x: x * x, range(3))
        [0, 1, 4]
    """
    call, columns = _what_to_call(fun, xs, args, vectors)
    registry = make_registry(None) if reg is None else reg
    with _removed_where_refused(registry, temporary=reg is None):
        ids = registry.batch_map(call, args=columns, more_args=more_args)
        registry.submit_jobs(_chunked(ids, n_chunks, chunk_size), resources)
    with _kept_where_failed(registry):
        registry.wait_for_jobs(ids)
        results = registry.reduce_results_list(ids)
    if reg is None:
        registry.remove()
    return results


def _what_to_call(
    fun: Callable[..., Any], xs: Any, args: Any, vectors: Mapping[str, Any]
) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """Return a function and the vectors to call it with by name."""
    given = [what is not None for what in (xs, args)] + [bool(vectors)]
    if sum(given) != 1:
        raise DefinitionError(
            "a map takes one vector, or several by keyword, or several by args=",
            remedy="give one of the three, and the rest in more_args",
        )
    if xs is None:
        return fun, as_columns(args, vectors)
    if not callable(fun):
        raise DefinitionError(f"{fun!r:.40} is no function", remedy="give a function as `fun`")
    name = first_parameter(fun)
    return (Applying(fun), {"x": xs}) if name is None else (fun, {name: xs})


def _chunked(ids: JobIds, n_chunks: int | None, chunk_size: int | None) -> Any:
    """Return the jobs as `submit_jobs` takes them."""
    if n_chunks is None and chunk_size is None:
        return ids
    import pandas as pd  # noqa: PLC0415 - slow, and only needed for chunks

    return pd.DataFrame({"job_id": list(ids), "chunk": chunk(ids, n_chunks, chunk_size)})


@contextmanager
def _removed_where_refused(registry: Registry, *, temporary: bool) -> Iterator[None]:
    try:
        yield
    except BatchpilotError:
        if temporary and not registry.find_on_system():
            registry.remove()
        raise


@contextmanager
def _kept_where_failed(registry: Registry) -> Iterator[None]:
    """Say in every error where the registry is."""
    try:
        yield
    except (JobFailed, JobNotDone) as error:
        raise JobFailed(
            f"{error.message} (its registry is {registry.file_dir})",
            remedy=f"look at it with bp.load_registry({str(registry.file_dir)!r})",
            **error.fields,
        ) from error
    except BatchpilotError as error:
        error.add_note(f"the registry of this map is {registry.file_dir}")
        raise
