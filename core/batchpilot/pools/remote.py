"""Pools of other machines: agents that a batch system starts as arrays, or that come by SSH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .agents import KNOWN_RESOURCES, AgentPool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePool(AgentPool):
    """Be the base of pools of other machines."""

    python: str = ""
    setup: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    work_dir: str = ""
    grace: float = 10.0

    @property
    def variables(self) -> dict[str, Any]:
        """Return the resources that only a job script knows, such as `partition`."""
        return {k: v for k, v in self.resources.items() if k not in KNOWN_RESOURCES}

    @property
    def most_waiting(self) -> int:
        """Return how many agents may be asked for that have not come."""
        return self.max_agents

    def __post_init__(self) -> None:
        """Take lists as tuples, so that a pool equals the one that is read back."""
        for name in ("setup", "directives_skip", "directives_extra", "hosts"):
            if isinstance(getattr(self, name, None), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPool(RemotePool):
    """Be the base of pools whose agents a batch system starts.

    Args:
        slots: Most jobs at once per agent.
        min_agents: Agents kept while there is work.
        max_agents: Most agents at once, queued ones included.
        resources: What a whole agent has: `ncpus` (by default one a slot), `memory` (MB), `gpus`,
            `walltime` (s); other names are variables of the template.
        idle_timeout: Seconds without work after which an agent leaves.
        start: "fork", or "spawn" for libraries that start threads when they are imported.
        python: The interpreter on the nodes, by default the coordinator's.
        setup: Shell lines before the agent starts, such as "module load gcc".
        env: Variables for the agents and their jobs.
        work_dir: Where agents are started, by default "/".
        grace: Seconds that running jobs get when their agent has to go: to write a checkpoint
            where they catch SIGTERM, else just to end.
        throttle: Most agents of one array at once, 0 for no limit; `max_agents` is for all.
        backlog: Most agents waiting in the queue at once, by default `max_agents`.
        template: Name or path of a job script's template, see docs/pools.md.
        directives_skip: Directives that begin so are left out, such as "--mem".
        directives_extra: Directives to add.
        name: Name of the pool.
    """

    throttle: int = 0
    backlog: int | None = None
    template: str = ""
    directives_skip: Sequence[str] = ()
    directives_extra: Sequence[str] = ()

    @property
    def most_waiting(self) -> int:
        """Return how many agents may wait in the queue."""
        return self.backlog or self.max_agents


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm(BatchPool):
    """Run agents as array jobs of Slurm, with the options of `BatchPool`.

    The template that is shipped knows `partition`, `account`, `qos`, `constraint`.

    Example:
        >>> Slurm(slots=4, max_agents=10, resources={"walltime": 3600}).ncpus
        4
    """

    name: str = "slurm"


@dataclass(frozen=True, slots=True, kw_only=True)
class PBS(BatchPool):
    """Run agents as array jobs of PBS Pro or OpenPBS, with the options of `BatchPool`.

    The template that is shipped knows `queue`, `account`, `project`; `grace` is 8 s by default.

    Example:
        >>> PBS(slots=4, max_agents=10, resources={"walltime": 3600}).ncpus
        4
    """

    name: str = "pbs"
    grace: float = 8.0  # it kills some 10 s after SIGTERM, and a job may take 2 s to die


@dataclass(frozen=True, slots=True, kw_only=True)
class Torque(BatchPool):
    """Run agents as array jobs of Torque, with the options of `BatchPool`.

    The template that is shipped knows `queue`, `account`.

    Example:
        >>> Torque(slots=4, max_agents=10, resources={"walltime": 3600}).ncpus
        4
    """

    name: str = "torque"


@dataclass(frozen=True, slots=True, kw_only=True)
class LSF(BatchPool):
    """Run agents as array jobs of LSF, with the options of `BatchPool`.

    The template that is shipped knows `queue`, `project`.

    Example:
        >>> LSF(slots=4, max_agents=10, resources={"walltime": 3600}).ncpus
        4
    """

    name: str = "lsf"


@dataclass(frozen=True, slots=True, kw_only=True)
class SGE(BatchPool):
    """Run agents as array jobs of Grid Engine, with the options of `BatchPool`.

    The template that is shipped knows `queue`, `project`, `parallel_environment` and
    `memory_resource`.

    Example:
        >>> SGE(slots=4, max_agents=10, resources={"walltime": 3600}).ncpus
        4
    """

    name: str = "sge"


@dataclass(frozen=True, slots=True, kw_only=True)
class SSH(RemotePool):
    """Run agents on hosts that are reached by the OpenSSH client, one agent a host.

    Args:
        hosts: Names of hosts, as in `ssh HOST`; `~/.ssh/config` counts.
        slots: Most jobs at once per host.
        min_agents: Agents kept while there is work.
        max_agents: Most agents at once, by default one on every host.
        max_load: Load per core above which a host gets no agent, 0 for no limit.
        resources: What a whole agent has: `ncpus` (by default one a slot), `memory` (MB), `gpus`.
        idle_timeout: Seconds without work after which an agent leaves.
        start: "fork", or "spawn" for libraries that start threads when they are imported.
        python: The interpreter on the hosts, by default the coordinator's.
        setup: Shell lines before the agent starts.
        env: Variables for the agents and their jobs.
        work_dir: Where agents are started, by default "/".
        grace: Seconds that running jobs get when their agent has to go: to write a checkpoint
            where they catch SIGTERM, else just to end.
        name: Name of the pool.

    Example:
        >>> SSH(["n1", "n2"], slots=8).max_agents
        2
    """

    hosts: Sequence[str] = field(kw_only=False)
    max_agents: int = 0
    max_load: float = 0.0
    name: str = "ssh"

    def __post_init__(self) -> None:
        """Count the hosts."""
        RemotePool.__post_init__(self)
        if not isinstance(self.hosts, str) and not self.max_agents:
            object.__setattr__(self, "max_agents", len(self.hosts))
