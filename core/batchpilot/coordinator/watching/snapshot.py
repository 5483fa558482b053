"""The snapshot: what a registry looks like at one moment, taken every few seconds.

A few statements that read one row a class or agent, and two round trips to the broker.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from batchpilot.pools import Pool
from batchpilot.status import Status
from batchpilot.store.agents import ShownAgent, live_agents
from batchpilot.store.database import Transaction
from batchpilot.store.pages import unpack_ranges
from batchpilot_broker.coordside import Backlog, BrokerStatus

from .totals import Totals


UNKNOWN = "unknown"

Where = tuple[str, str]
"""Pool and kind of pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Hold what waits in one class.

    Attributes:
        jobs: Jobs that wait for an agent, fed or not.
        chunks: Chunks at the broker that nobody has claimed.
        oldest: When the job that waits longest was submitted, None where none waits.
    """

    jobs: int = 0
    chunks: int = 0
    oldest: float | None = None

    def __add__(self, other: Waiting) -> Waiting:
        times = [time for time in (self.oldest, other.oldest) if time is not None]
        return Waiting(
            jobs=self.jobs + other.jobs,
            chunks=self.chunks + other.chunks,
            oldest=min(times, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Hold what the registry looked like at one moment.

    Attributes:
        at: Unix time.
        term: The coordinator's term.
        status: Jobs by state.
        waiting: What waits, by class.
        agents: Number of live agents by (pool, kind), state.
        slots: Busy and idle slots by (pool, kind).
        wanted: Agents wanted by (pool, kind).
        broker: How the broker fares.
        backlog: Events not yet applied; None while the broker is away.
    """

    at: float = 0.0
    term: int = 0
    status: Status = field(default_factory=Status)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    agents: Mapping[tuple[Where, str], int] = field(default_factory=dict)
    slots: Mapping[Where, tuple[int, int]] = field(default_factory=dict)
    wanted: Mapping[Where, int] = field(default_factory=dict)
    broker: BrokerStatus = field(default_factory=lambda: BrokerStatus(up=False))
    backlog: Backlog | None = None


class Places:
    """Say under which labels a pool is shown.

    Args:
        pools: The registry's pools.
        totals: Bounds the names.
    """

    def __init__(self, pools: list[Pool], totals: Totals) -> None:
        self._kinds = {pool.name: type(pool).__name__.lower() for pool in pools}
        self._totals = totals

    def __call__(self, pool: str) -> Where:
        """Return pool and kind; agents may come from a pool that was since taken away."""
        return self._totals.bounded("pool", pool), self._kinds.get(pool, UNKNOWN)

    def all(self) -> list[Where]:
        """Return all pools there are."""
        return [self(pool) for pool in self._kinds]


@dataclass(frozen=True, slots=True)
class AgentCounts:
    """Hold agents and slots by place."""

    agents: Counter[tuple[Where, str]]
    slots: dict[Where, tuple[int, int]]

    @classmethod
    def of(cls, shown: list[ShownAgent], place: Places) -> AgentCounts:
        """Count agents."""
        agents: Counter[tuple[Where, str]] = Counter()
        slots: dict[Where, tuple[int, int]] = dict.fromkeys(place.all(), (0, 0))
        for agent in shown:
            where = place(agent.pool)
            agents[where, str(agent.state)] += 1
            busy, idle = slots.get(where, (0, 0))
            slots[where] = busy + agent.busy, idle + agent.slots - agent.busy
        return cls(agents, slots)


def count_agents(tx: Transaction, place: Places) -> AgentCounts:
    """Return live agents and their slots."""
    return AgentCounts.of(live_agents(tx), place)


def count_waiting(tx: Transaction, totals: Totals) -> dict[str, Waiting]:
    """Return what waits in each class, the classes with nothing to do too."""
    found: defaultdict[str, Waiting] = defaultdict(Waiting)
    for class_id, _ in tx.all("all_classes"):
        found[totals.bounded("class", class_id)] += Waiting()
    for class_id, jobs, chunks, oldest in tx.all("waiting_by_class"):
        waiting = Waiting(jobs=jobs, chunks=chunks, oldest=oldest)
        found[totals.bounded("class", class_id)] += waiting
    for class_id, ranges in tx.all("again_ranges"):
        found[totals.bounded("class", class_id)] += Waiting(jobs=len(unpack_ranges(ranges)))
    return dict(found)
