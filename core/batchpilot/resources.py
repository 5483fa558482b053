"""Resources of jobs: checked by name, sorted, and made into the class whose queue they go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpilot_broker.nouns import Isolation, ResourceClass

from .classes import class_id, pack
from .errors import NoSuchPool, SubmissionError
from .pools import AgentPool, Interactive, Pool, RemotePool


COMING_AND_GOING = 45.0
"""Seconds of its walltime in which an agent starts no job that might need them."""

_WITHOUT_GRACE = 25.0
"""What of these is not the grace that jobs get when it leaves, where that is longer."""

_POSITIVE_INT = ("ncpus", "omp_threads", "blas_threads")
_NUMBERS = ("walltime", "memory")
KNOWN = frozenset(
    (*_POSITIVE_INT, *_NUMBERS, "gpus", "measure_memory", "pool", "isolation"),
)
"""Names that mean something here; all others are variables of job scripts."""


def make_class(resources: Mapping[str, Any], priority: int) -> ResourceClass:
    """Return the resource class of a submission.

    Args:
        resources: As the user gave them; names we do not know are template variables.
        priority: Larger runs earlier.

    Raises:
        SubmissionError: A value of the wrong kind, named.
    """
    check_resources(resources)
    return ResourceClass(
        ncpus=resources.get("ncpus", 1),
        memory=float(resources.get("memory", 0)),
        gpus=resources.get("gpus", 0),
        walltime=float(resources.get("walltime", 0)),
        pool=resources.get("pool", ""),
        threads=(resources.get("omp_threads", 1), resources.get("blas_threads", 1)),
        isolation=Isolation(resources.get("isolation", "auto")),
        priority=priority,
        measure_memory=resources.get("measure_memory", False),
        template=tuple(sorted((k, v) for k, v in resources.items() if k not in KNOWN)),
    )


def merge_resources(
    defaults: Mapping[str, Any], resources: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the resources of a submission, sorted by name; None takes a default away.

    Example:
        >>> merge_resources({"walltime": 60, "ncpus": 2}, {"memory": 500, "ncpus": None})
        {'memory': 500, 'walltime': 60}
    """
    merged = {**defaults, **(resources or {})}
    return {name: value for name, value in sorted(merged.items()) if value is not None}


def check_resources(resources: Mapping[str, Any]) -> None:
    """Refuse resources that could be nothing.

    Raises:
        SubmissionError: A value of the wrong kind, named.
    """
    for name in _POSITIVE_INT:
        _need(name, resources, lambda v: _is_int(v) and v >= 1, "a whole number of at least 1")
    for name in _NUMBERS:
        _need(name, resources, lambda v: _is_number(v) and v > 0, "a positive number")
    _need("gpus", resources, lambda v: _is_int(v) and v >= 0, "a whole number of at least 0")
    _need("measure_memory", resources, lambda v: isinstance(v, bool), "True or False")
    _need("pool", resources, lambda v: isinstance(v, str), "the name of a pool")
    _need("isolation", resources, lambda v: v in list(Isolation), "'auto', 'process' or 'slot'")
    if "max_concurrent_jobs" in resources:
        raise SubmissionError(
            "max_concurrent_jobs is no resource of a job",
            remedy="give it as submit_jobs(max_concurrent_jobs=...)",
        )
    pack(resources)


def check_servable(resources: ResourceClass, pools: Sequence[Pool]) -> None:
    """Refuse what no pool can ever serve.

    Raises:
        NoSuchPool: With the reason of each pool.
    """
    reasons = [f"{pool.name}: {why}" for pool in pools if (why := _misfit(resources, pool))]
    if len(reasons) == len(pools):
        raise NoSuchPool(
            "no pool can run these jobs (" + "; ".join(reasons) + ")",
            remedy="ask for less, or assign reg.pools with agents that are large enough",
        )


def fits(resources: ResourceClass, pool: Pool) -> bool:
    """Tell whether a pool can serve jobs of a class."""
    return not _misfit(resources, pool)


def _misfit(resources: ResourceClass, pool: Pool) -> str:
    if resources.pool and resources.pool != pool.name:
        return f"the jobs ask for pool {resources.pool!r}"
    if isinstance(pool, Interactive):
        return ""
    return _too_small(resources, pool)


def _too_small(resources: ResourceClass, pool: AgentPool) -> str:
    if resources.ncpus > pool.ncpus:
        return f"ncpus={resources.ncpus} but its agents have {pool.ncpus}"
    if resources.gpus > pool.gpus:
        return f"gpus={resources.gpus} but its agents have {pool.gpus}"
    if pool.memory and resources.memory > pool.memory:
        return f"memory={resources.memory:g} but its agents have {pool.memory:g}"
    if isinstance(pool, RemotePool) and pool.walltime:
        return _too_short(resources, pool)
    return ""


def _too_short(resources: ResourceClass, pool: RemotePool) -> str:
    spare = max(COMING_AND_GOING, _WITHOUT_GRACE + pool.grace)
    if resources.walltime + spare <= pool.walltime:
        return ""
    have = f"{pool.walltime:g}, {spare:g} of them to come and to go"
    return f"walltime={resources.walltime:g} but its agents have {have}"


def _need(name: str, resources: Mapping[str, Any], good: Any, what: str) -> None:
    if name in resources and not good(resources[name]):
        raise SubmissionError(
            f"resource {name}={resources[name]!r} must be {what}",
            remedy="change it and submit again",
        )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


__all__ = [
    "KNOWN",
    "check_resources",
    "check_servable",
    "class_id",
    "make_class",
    "merge_resources",
    "pack",
]
