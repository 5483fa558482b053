"""All that `batchpilot status` knows at one moment: the same figures make screen and JSON."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batchpilot import control
from batchpilot.checkup.directory import space
from batchpilot.checkup.finding import Health
from batchpilot.checkup.running import broker
from batchpilot.ids import JobIds
from batchpilot.pace import recent_pace
from batchpilot.registry.whole import Registry
from batchpilot.status import Status
from batchpilot.store.launches import failing, read_failures
from batchpilot.store.owner import read_owner
from batchpilot_broker.paths import RegistryPaths

from .grouping import Group, group_failures


LATEST = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """Hold how busy the agents of one pool are."""

    pool: str
    agents: int
    slots: int
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Hold the state of a registry and of what works for it.

    Attributes:
        registry: Directory of the registry.
        time: Unix time of the snapshot.
        jobs: Counts of jobs by state.
        pace: Jobs ended per second of late, None where none has ended or none is left.
        agents: Use of the agents that are there, by pool.
        errors: The failed and expired jobs with the highest ids, grouped by message.
        broker: State of the broker.
        coordinator: State of the coordinator.
        trouble: What keeps work from going on now, each with its remedy.
    """

    registry: str
    time: float
    jobs: Status
    pace: float | None
    agents: tuple[PoolUse, ...]
    errors: tuple[Group, ...]
    broker: Mapping[str, Any]
    coordinator: Mapping[str, Any]
    trouble: tuple[str, ...] = ()

    @property
    def ended(self) -> int:
        """Return the number of jobs that have ended, well or not."""
        return self.jobs.done + self.jobs.error + self.jobs.expired

    @property
    def left(self) -> int:
        """Return the number of jobs submitted that have not ended."""
        return self.jobs.submitted - self.ended

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds until all have ended if things go on like this."""
        return self.left / self.pace if self.pace else None

    def as_fields(self) -> dict[str, Any]:
        """Return the fields of the JSON document."""
        return {
            "registry": self.registry,
            "time": self.time,
            "jobs": self.jobs.as_dict(),
            "jobs_per_second": self.pace,
            "seconds_left": self.seconds_left,
            "agents": [asdict(use) for use in self.agents],
            "errors": [
                {"message": group.headline, "count": group.count, "job_ids": group.ids[:10]}
                for group in self.errors
            ],
            "broker": dict(self.broker),
            "coordinator": dict(self.coordinator),
            "trouble": list(self.trouble),
        }


def take_snapshot(registry: Registry) -> Snapshot:
    """Return what can be known of a registry now; nothing needs to run."""
    now = time.time()
    jobs = registry.get_status()
    unfinished = jobs.submitted > jobs.done + jobs.error + jobs.expired
    return Snapshot(
        registry=str(registry.file_dir),
        time=now,
        jobs=jobs,
        pace=_pace(registry, now) if unfinished else None,
        agents=tuple(use_by_pool(control.agents(registry.paths))),
        errors=tuple(group_failures(failures(registry, most=LATEST))),
        broker=control.broker_status(registry.paths),
        coordinator=control.coordinator_status(registry.paths),
        trouble=tuple(_trouble(registry.paths)),
    )


def _trouble(paths: RegistryPaths) -> Iterator[str]:
    """Yield what `doctor` would say of disk, broker, ignored messages and paused pools."""
    for finding in (space(paths), *broker(paths, read_owner(paths))):
        ignored = finding.check == "messages" and finding.health is not Health.OK
        if finding.health is Health.BAD or ignored:
            yield f"{finding.check}: {finding.text}; {finding.remedy}"
    for failure in read_failures(paths):
        if failure.paused:
            yield f"agents: {failing(failure, time.time())}"


def failures(
    registry: Registry, *, among: JobIds | None = None, most: int = 0
) -> Iterable[tuple[int, str]]:
    """Return jobs that failed or expired, and why.

    Args:
        registry: The registry.
        among: Jobs to look at, by default all.
        most: Of how many, those with the highest ids; 0 for all.
    """
    ids = (registry.find_error(among) | registry.find_expired(among))[-most:]
    if not ids:
        return []
    messages = registry.get_error_messages(ids)
    return zip(messages["job_id"].tolist(), messages["message"].tolist(), strict=True)


def use_by_pool(agents: Iterable[Mapping[str, Any]]) -> Iterable[PoolUse]:
    """Return how busy agents are, pool by pool."""
    pools: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for agent in agents:
        pools[agent["pool"]].append(agent)
    for pool, members in sorted(pools.items()):
        slots, busy = (sum(member[key] for member in members) for key in ("slots", "busy"))
        yield PoolUse(pool=pool, agents=len(members), slots=slots, busy=busy)


def _pace(registry: Registry, now: float) -> float | None:
    with registry.database.read() as view:
        return recent_pace(view, now)
