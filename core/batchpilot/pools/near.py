"""Pools without a batch system: agents of this machine, of somebody else, or none at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .agents import AgentPool


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
class Local(AgentPool):
    """Run agents on this machine.

    Args:
        slots: Most jobs at once per agent; by default the cores this process may use.
        min_agents: Agents kept while there is work.
        max_agents: Most agents at once.
        resources: What a whole agent has: `ncpus`, `memory` (MB), `gpus`; by default one core a
            slot.
        idle_timeout: Seconds without work after which an agent leaves.
        start: "fork", or "spawn" for libraries that start threads when they are imported.
        name: Name of the pool.

    Example:
        >>> Local(slots=2).slots
        2
    """

    slots: int = field(default_factory=usable_cores)
    resources: Mapping[str, float] = field(default_factory=dict)
    name: str = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class External(AgentPool):
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

    resources: Mapping[str, float] = field(default_factory=dict)
    name: str = "external"
