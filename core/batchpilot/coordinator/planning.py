"""How many agents to ask a batch system for: pure arithmetic on demand and supply.

Jobs that ask for other variables of the job script, such as a partition, need agents of their own;
demand and supply are reckoned for each set of variables. Agents that wait in the queue are supply.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from batchpilot.pools import RemotePool
from batchpilot.resources import fits
from batchpilot.store.allocations import Pilot, Stage, variables_key
from batchpilot_broker.nouns import ResourceClass


def demand_of(pool: RemotePool, waiting: Iterable[tuple[ResourceClass, int]]) -> dict[str, int]:
    """Return how many agents a pool's unfinished jobs would keep busy, by variables.

    Args:
        pool: The pool.
        waiting: Unfinished jobs of each class.
    """
    busy: dict[str, float] = defaultdict(float)
    for needed, jobs in waiting:
        if jobs and fits(needed, pool):
            at_once = max(1, min(pool.slots, pool.ncpus // needed.ncpus))
            busy[variables_key({**pool.variables, **dict(needed.template)})] += jobs / at_once
    demand = {key: math.ceil(agents) for key, agents in busy.items()}
    if demand and pool.min_agents:
        usual = variables_key(pool.variables)
        others = sum(demand.values()) - demand.get(usual, 0)
        demand[usual] = max(demand.get(usual, 0), pool.min_agents - others)
    return demand


def shortage_of(
    pool: RemotePool, demand: Mapping[str, int], supply: Sequence[Pilot]
) -> dict[str, int]:
    """Return how many agents to submit, by variables: not more than the pool may have.

    Args:
        pool: The pool.
        demand: Agents that its jobs would keep busy.
        supply: Its agents that have not ended.
    """
    room = pool.max_agents - len(supply)
    waiting = sum(pilot.stage is not Stage.RUNNING for pilot in supply)
    room = min(room, pool.most_waiting - waiting)
    short = {}
    for key, wanted in demand.items():
        lacking = min(room, wanted - sum(pilot.variables == key for pilot in supply))
        if lacking > 0:
            short[key] = lacking
            room -= lacking
    return short


def surplus_of(demand: Mapping[str, int], supply: Sequence[Pilot]) -> list[Pilot]:
    """Return the agents in the queue that nothing waits for, the last ones asked for."""
    surplus = []
    for key in {pilot.variables for pilot in supply}:
        ours = [pilot for pilot in supply if pilot.variables == key]
        queued = [pilot for pilot in ours if pilot.stage is Stage.QUEUED]
        excess = len(ours) - demand.get(key, 0)
        surplus += queued[max(0, len(queued) - max(0, excess)) :] if excess > 0 else []
    return surplus
