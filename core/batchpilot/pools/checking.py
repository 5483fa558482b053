"""What can be a set of pools, and what is kept of one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from batchpilot.errors import DefinitionError

from .agents import KNOWN_RESOURCES, AgentPool
from .near import External, Interactive, Local
from .remote import LSF, PBS, SGE, SSH, BatchPool, RemotePool, Slurm, Torque


Pool = Interactive | AgentPool

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Interactive, Local, External, SSH, Slurm, PBS, Torque, LSF, SGE)
}
_WORDS = ("setup", "directives_skip", "directives_extra", "hosts")
_TEXTS = ("name", "start", "python", "work_dir", "template")


def check_pools(pools: Pool | Sequence[Pool]) -> list[Pool]:
    """Return pools as a list.

    Raises:
        DefinitionError: Not pools, an impossible option, or two of one name.
    """
    listed = list(pools) if isinstance(pools, Sequence) else [pools]
    for pool in listed:
        _check(pool)
    names = [pool.name for pool in listed]
    if not listed or len(set(names)) != len(names):
        raise DefinitionError(
            f"pools need different names, got {names}", remedy="give each its own name=..."
        )
    if len(listed) > 1 and any(isinstance(pool, Interactive) for pool in listed):
        raise DefinitionError("Interactive cannot be mixed with other pools", remedy="use it alone")
    return listed


def _check(pool: Any) -> None:
    if type(pool) not in _KINDS.values():
        raise DefinitionError(
            f"{pool!r} is not a pool", remedy=f"use one of bp.pools: {', '.join(_KINDS)}"
        )
    for what in _faults(pool):
        raise DefinitionError(
            f"pool {pool.name}: {what}", remedy=f"see help(bp.pools.{type(pool).__name__})"
        )


def _faults(pool: Pool) -> Iterator[str]:
    """Yield what is wrong with a pool."""
    if isinstance(pool, Interactive):
        return
    yield from _wrong_kinds(pool)
    yield from _wrong_numbers(pool)
    yield from _wrong_resources(pool)


def _wrong_kinds(pool: AgentPool) -> Iterator[str]:
    """Yield options of a kind that the others could not be checked with."""
    fields = pool.__dataclass_fields__
    for name in _TEXTS:
        if name in fields and not _is_line(getattr(pool, name)):
            yield f"{name}={getattr(pool, name)!r} must be one line of text"
    for name in _WORDS:
        if name in fields and not _are_lines(getattr(pool, name)):
            yield f"{name}={getattr(pool, name)!r} must be a list of lines of text"
    if isinstance(pool, RemotePool):
        yield from _wrong_env(pool.env)
    for name in ("slots", "min_agents", "max_agents", "throttle"):
        if name in fields and not _is_whole(getattr(pool, name)):
            yield f"{name}={getattr(pool, name)!r} must be a whole number"


def _wrong_env(env: Any) -> Iterator[str]:
    if not isinstance(env, Mapping):
        yield f"env={env!r} must be a map of names to text"
        return
    for name, value in env.items():
        if not (isinstance(name, str) and name.isidentifier() and isinstance(value, str)):
            yield f"env: {name!r}: {value!r} must be a variable's name and text"


def _wrong_numbers(pool: AgentPool) -> Iterator[str]:
    for wrong, what in (
        (not pool.name, "name must not be empty"),
        (pool.slots < 1, f"slots={pool.slots} must be at least 1"),
        (pool.max_agents < 1, f"max_agents={pool.max_agents} must be at least 1"),
        (not 0 <= pool.min_agents <= pool.max_agents, "min_agents must be in 0..max_agents"),
        (pool.start not in {"fork", "spawn"}, f"start={pool.start!r} must be 'fork' or 'spawn'"),
        (not _is_positive(pool.idle_timeout), f"idle_timeout={pool.idle_timeout} must be positive"),
    ):
        if wrong:
            yield what
    if isinstance(pool, RemotePool):
        yield from _wrong_grace(pool)
    if isinstance(pool, BatchPool):
        yield from _wrong_queueing(pool)
    if isinstance(pool, SSH):
        yield from _wrong_hosts(pool)


def _wrong_grace(pool: RemotePool) -> Iterator[str]:
    if not _is_number(pool.grace) or pool.grace < 0:
        yield f"grace={pool.grace!r} must be at least 0"


def _wrong_queueing(pool: BatchPool) -> Iterator[str]:
    if pool.throttle < 0:
        yield f"throttle={pool.throttle} must be at least 0"
    if pool.backlog is not None and not (_is_whole(pool.backlog) and pool.backlog >= 1):
        yield f"backlog={pool.backlog!r} must be a whole number of at least 1"


def _wrong_hosts(pool: SSH) -> Iterator[str]:
    odd = [host for host in pool.hosts if not host or host.startswith("-") or " " in host]
    if odd or not pool.hosts:
        yield f"hosts={list(pool.hosts)!r} must be names of hosts"
    if len(set(pool.hosts)) != len(pool.hosts):
        yield f"hosts={list(pool.hosts)!r} has one twice"
    if not _is_number(pool.max_load) or pool.max_load < 0:
        yield f"max_load={pool.max_load!r} must be at least 0"


def _wrong_resources(pool: AgentPool) -> Iterator[str]:
    resources: Any = pool.resources
    if not isinstance(resources, Mapping):
        yield f"resources={resources!r} must be a map"
        return
    unknown = sorted(map(str, set(resources) - set(KNOWN_RESOURCES)))
    if unknown and not isinstance(pool, BatchPool):
        yield f"unknown resources {unknown}"
    if "walltime" in resources and not isinstance(pool, RemotePool):
        yield "unknown resources ['walltime']"
    for name, value in resources.items():
        if name in KNOWN_RESOURCES and not _is_positive(value):
            yield f"resource {name}={value!r} must be a positive number"
        elif not (_is_line(value) or _is_number(value)):
            yield f"resource {name}={value!r} must be a number or one line of text"


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.replace("\t", " ").isprintable()


def _are_lines(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_line, value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and bool(value > 0)


def make_pool(record: Mapping[str, Any]) -> Pool:
    """Return the pool that a table of a configuration file describes: `kind`, then its options.

    Raises:
        DefinitionError: There is no such kind, or it has no such option.

    Example:
        >>> make_pool({"kind": "Local", "slots": 2}).slots
        2
    """
    options = dict(record)
    kind = _KINDS.get(options.pop("kind", ""))
    if kind is None:
        raise DefinitionError(
            f"a pool of kind {record.get('kind')!r}", remedy=f"use one of {', '.join(_KINDS)}"
        )
    unknown = sorted(options.keys() - kind.__dataclass_fields__.keys())
    if unknown:
        raise DefinitionError(
            f"{kind.__name__} has no option {', '.join(map(repr, unknown))}",
            remedy=f"use those of help(bp.pools.{kind.__name__})",
        )
    try:
        made: Pool = kind(**options)
    except TypeError as error:
        raise DefinitionError(
            f"a pool of kind {kind.__name__}: {error}", remedy=f"see help(bp.pools.{kind.__name__})"
        ) from error
    return made


def to_records(pools: Sequence[Pool]) -> list[dict[str, Any]]:
    """Return pools as the registry keeps them."""
    return [{"kind": type(pool).__name__, **asdict(pool)} for pool in pools]


def from_records(records: Sequence[Mapping[str, Any]]) -> list[Pool]:
    """Return the pools that the registry keeps."""
    return [
        _KINDS[record["kind"]](**{k: v for k, v in record.items() if k != "kind"})
        for record in records
    ]
