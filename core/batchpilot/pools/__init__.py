"""Pools: what kinds of agents a registry may use.

    reg.pools = [bp.pools.Local(slots=2), bp.pools.Slurm(slots=8, max_agents=100)]

Assigning checks and stores them; the coordinator follows within a second.
"""

from .agents import AgentPool
from .checking import Pool, check_pools, from_records, make_pool, to_records
from .near import External, Interactive, Local, usable_cores
from .remote import LSF, PBS, SGE, SSH, BatchPool, RemotePool, Slurm, Torque


__all__ = [
    "LSF",
    "PBS",
    "SGE",
    "SSH",
    "AgentPool",
    "BatchPool",
    "External",
    "Interactive",
    "Local",
    "Pool",
    "RemotePool",
    "Slurm",
    "Torque",
    "check_pools",
    "from_records",
    "make_pool",
    "to_records",
    "usable_cores",
]
