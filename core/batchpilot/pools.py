"""Pools: what kinds of agents a registry may use.

    reg.pools = [bp.pools.Local(slots=2)]

Assigning checks and stores them; the coordinator follows within a second.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import DefinitionError


_SCHEDULERS = ("sbatch", "qsub", "bsub")


def usable_cores() -> int:
    """Return the cores this process may use; at most 4 where a batch system is (login nodes)."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_cores()
    if quota:
        cores = max(1, min(cores, quota))
    on_login_node = any(shutil.which(command) for command in _SCHEDULERS)
    return min(cores, 4) if on_login_node else cores


def _cgroup_cores() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 0
    return 0 if quota == "max" else -(-int(quota) // int(period))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactive:
    """Run each job in the session itself, at the submission; no broker, no agent.

    The hash seed and the thread counts are the session's, so numbers may differ from other pools'.

    Args:
        external: Whether each job gets a fresh process.

    Example:
        >>> Interactive().name
        'interactive'
    """

    external: bool = False
    name: str = "interactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Run agents on this machine.

    Args:
        slots: Most jobs at once per agent; by default the cores this process may use.
        min_agents: Agents kept while there is work.
        max_agents: Most agents at once.
        resources: What a whole agent has: `ncpus`, `memory` (MB), `gpus`; by default one core a
        slot. idle_timeout: Seconds without work after which an agent leaves. start: "fork", or
        "spawn" for libraries that start threads when they are imported. name: Name of the pool.

    Example:
        >>> Local(slots=2).slots
        2
    """

    slots: int = field(default_factory=usable_cores)
    min_agents: int = 0
    max_agents: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    idle_timeout: float = 300.0
    start: str = "fork"
    name: str = "local"

    @property
    def ncpus(self) -> int:
        """Return the cores of one agent."""
        return int(self.resources.get("ncpus", self.slots))

    @property
    def memory(self) -> float:
        """Return the MB of one agent, 0 for unknown."""
        return float(self.resources.get("memory", 0.0))

    @property
    def gpus(self) -> int:
        """Return the devices of one agent."""
        return int(self.resources.get("gpus", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class External(Local):
    """Let agents work that something else starts: Kubernetes, systemd, or you by hand.

    They are started by `batchpilot agents run REG --pool NAME`. How many there should be is the
    metric `batchpilot_pool_wanted_agents`; the coordinator starts none.

    Args:
        slots: Most jobs at once per agent, as agents are started.
        min_agents: Agents wanted while there is work.
        max_agents: Most agents wanted at once.
        resources: What a whole agent has: `ncpus`, `memory` (MB), `gpus`; by default one core a
            slot. Jobs that ask for more are refused.
        name: Name of the pool.

    Example:
        >>> External(name="kubernetes", slots=4, max_agents=20).ncpus
        4
    """

    slots: int = 1
    name: str = "external"


Pool = Interactive | Local

_KINDS: dict[str, type[Interactive | Local]] = {
    "Interactive": Interactive,
    "Local": Local,
    "External": External,
}


def check_pools(pools: Pool | Sequence[Pool]) -> list[Pool]:
    """Return pools as a list.

    Raises:
        DefinitionError: Not pools, an impossible number, or two of one name.
    """
    listed = list(pools) if isinstance(pools, Sequence) else [pools]
    for pool in listed:
        if not isinstance(pool, Interactive | Local):
            raise DefinitionError(
                f"{pool!r} is not a pool",
                remedy="use bp.pools.Local(...), bp.pools.External(...) or bp.pools.Interactive()",
            )
        if isinstance(pool, Local):
            _check_local(pool)
    names = [pool.name for pool in listed]
    if not listed or len(set(names)) != len(names):
        raise DefinitionError(
            f"pools need different names, got {names}", remedy="give each its own name=..."
        )
    if len(listed) > 1 and any(isinstance(pool, Interactive) for pool in listed):
        raise DefinitionError("Interactive cannot be mixed with other pools", remedy="use it alone")
    return listed


def _check_local(pool: Local) -> None:
    unknown = set(pool.resources) - {"ncpus", "memory", "gpus"}
    for wrong, what in (
        (pool.slots < 1, f"slots={pool.slots} must be at least 1"),
        (pool.max_agents < 1, f"max_agents={pool.max_agents} must be at least 1"),
        (not 0 <= pool.min_agents <= pool.max_agents, "min_agents must be in 0..max_agents"),
        (pool.start not in ("fork", "spawn"), f"start={pool.start!r} must be 'fork' or 'spawn'"),
        (pool.idle_timeout <= 0, f"idle_timeout={pool.idle_timeout} must be positive"),
        (bool(unknown), f"unknown resources {sorted(unknown)}"),
    ):
        if wrong:
            raise DefinitionError(
                f"pool {pool.name}: {what}", remedy=f"see help(bp.pools.{type(pool).__name__})"
            )


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
    return kind(**options)


def to_records(pools: Sequence[Pool]) -> list[dict[str, Any]]:
    """Return pools as the registry keeps them."""
    return [{"kind": type(pool).__name__, **asdict(pool)} for pool in pools]


def from_records(records: Sequence[Mapping[str, Any]]) -> list[Pool]:
    """Return the pools that the registry keeps."""
    return [
        _KINDS[record["kind"]](**{k: v for k, v in record.items() if k != "kind"})
        for record in records
    ]
