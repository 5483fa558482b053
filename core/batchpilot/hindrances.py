"""What stands in the way of jobs of a class, as the registry has it: pools, agents, coordinator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgpack

from batchpilot_agent.serving import is_placed
from batchpilot_broker.host import host_name, process_start
from batchpilot_broker.nouns import ResourceClass

from .durations import duration
from .errors import NoSuchPool
from .pools import Interactive, Local, Pool, RemotePool, from_records
from .reasons import Cause, Reason
from .registry.base import RegistryBase
from .resources import check_servable
from .seat import standing
from .store.agents import ShownAgent, live_agents
from .store.allocations import Pilot, pilots_alive
from .store.launches import Failed, LaunchFailure, failing, launch_failures
from .store.owner import Owner, read_owner
from .store.paces import seconds_taken
from .suitability import Suitability, counted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Hold who could run the jobs of a class."""

    needed: ResourceClass
    pools: Sequence[Pool]
    agents: Sequence[ShownAgent]
    stopped: bool
    failures: Sequence[LaunchFailure]
    limit: int | None
    asked_for: Sequence[Pilot]
    taken: Mapping[str, float]

    @classmethod
    def of(cls, registry: RegistryBase, class_id: str, now: float) -> _Scene:
        with registry.database.read() as tx:
            row = tx.execute("read_class", class_id).fetchone()
            stored = tx.meta("pools")
            needed = ResourceClass.from_wire(msgpack.unpackb(row[0]))
            agents = [agent for agent in live_agents(tx) if _lives(agent)]
            ending = [] if needed.walltime else [a.id for a in agents if a.deadline]
            return cls(
                needed=needed,
                pools=from_records(json.loads(stored)) if stored else [Local()],
                agents=agents,
                stopped=bool(tx.meta("agents_stopped", 0)),
                failures=launch_failures(tx, now),
                limit=json.loads(tx.meta("max_concurrent_jobs") or "null"),
                asked_for=pilots_alive(tx),
                taken={agent: seconds_taken(tx, agent, class_id) for agent in ending},
            )


def hindrances(
    registry: RegistryBase,
    class_id: str,
    now: float | None = None,
    *,
    running_at: str = "",
    waiting: bool = False,
) -> Iterator[Reason]:
    """Yield what keeps jobs of a class from running on.

    Args:
        registry: The registry.
        class_id: Their resource class.
        now: Unix time.
        running_at: Agent at which the job in question runs: only what ends that is told.
        waiting: Whether it waits for other jobs, and needs nobody but the coordinator.
    """
    now = time.time() if now is None else now
    scene = _Scene.of(registry, class_id, now)
    if any(isinstance(pool, Interactive) for pool in scene.pools):
        yield _in_session()
        return
    yield from _no_coordinator(registry, now)
    if waiting:
        return
    if running_at:
        yield from _agent_gone(scene, running_at)
        return
    if scene.limit is not None:
        yield Reason(
            cause=Cause.LIMIT,
            text=f"at most {scene.limit} jobs of the registry run at once (max_concurrent_jobs)",
        )
    fitting, misfit = _fitting(scene)
    if misfit is not None:
        yield misfit
    elif scene.stopped:
        yield Reason(
            cause=Cause.AGENTS_STOPPED,
            text="agents were stopped, and none comes again by itself",
            remedy=f"batchpilot agents resume {registry.file_dir}",
        )
    else:
        yield from _agents(registry, scene, fitting, now)


def _in_session() -> Reason:
    return Reason(
        cause=Cause.IN_SESSION,
        text="jobs of pool Interactive run in the session that submits them, one after another",
        remedy="if that session is gone, kill the job and submit it again",
    )


def _no_coordinator(registry: RegistryBase, now: float) -> Iterator[Reason]:
    why, seat = silence_of(read_owner(registry.paths), now), standing(registry.paths)
    if why and seat is not None:
        why = f"the coordinator {seat.text}"
    if why:
        yield Reason(
            cause=Cause.NO_COORDINATOR, text=why, remedy=f"batchpilot wait {registry.file_dir}"
        )


def silence_of(owner: Owner, now: float) -> str:
    """Return what shows that no coordinator is at work, "" where one is."""
    if owner.coordinator_alive or owner.beats_elsewhere(now):
        return ""
    beat = f"; its last beat was {duration(now - owner.heartbeat)} ago" if owner.heartbeat else ""
    if owner.here:
        return f"the coordinator is not running{beat}"
    return f"the coordinator on {owner.host} is not heard of{beat}"


def _lives(agent: ShownAgent) -> bool:
    return agent.host != host_name() or process_start(agent.pid) != 0


def _agent_gone(scene: _Scene, agent: str) -> Iterator[Reason]:
    if agent not in {known.id for known in scene.agents}:
        yield Reason(
            cause=Cause.AGENT_GONE,
            text=f"agent {agent} is gone; a coordinator gives the job to another one",
        )


def _fitting(scene: _Scene) -> tuple[set[str], Reason | None]:
    """Return the pools that can run the jobs; a reason where there is none."""
    fitting = set()
    for pool in scene.pools:
        try:
            check_servable(scene.needed, [pool])
        except NoSuchPool:
            continue
        fitting.add(pool.name)
    try:
        check_servable(scene.needed, scene.pools)
    except NoSuchPool as error:
        return fitting, Reason(cause=Cause.NO_POOL, text=error.message, remedy=error.remedy)
    return fitting, None


def _agents(
    registry: RegistryBase, scene: _Scene, fitting: set[str], now: float
) -> Iterator[Reason]:
    failures = [failure for failure in scene.failures if failure.pool in fitting]
    for failure in failures:
        yield _failure(registry, failure, now)
    awaited = list(_awaited(scene, fitting, now))
    yield from awaited
    there = [agent for agent in scene.agents if agent.pool in fitting]
    sorted_ = Suitability(
        needed=scene.needed,
        agents=there,
        taken=scene.taken,
        grace={pool.name: pool.grace for pool in scene.pools if isinstance(pool, RemotePool)},
        now=now,
    )
    if sorted_.suited:
        yield _busy(sorted_.suited)
    yield from sorted_.reasons()
    if not (awaited or sorted_.suited or any(f.what == Failed.START for f in failures)):
        yield from _nobody(scene, fitting, there)


def _failure(registry: RegistryBase, failure: LaunchFailure, now: float) -> Reason:
    text = failing(failure, now)
    if failure.paused:
        remedy = f"mend that, then: batchpilot agents resume {registry.file_dir}"
        return Reason(cause=Cause.POOL_PAUSED, text=text, remedy=remedy)
    remedy = "mend that; it is tried again by itself"
    if failure.what == Failed.START:
        written = registry.paths.root / failure.where if failure.where else registry.paths.logs
        remedy = f"mend that; what they wrote is in {written}"
    return Reason(cause=Cause.LAUNCH_FAILED, text=text, remedy=remedy)


def _awaited(scene: _Scene, fitting: set[str], now: float) -> Iterator[Reason]:
    """Yield, pool by pool, that agents for the jobs are asked for, and what keeps them."""
    coming: dict[str, list[Pilot]] = {}
    for pilot in scene.asked_for:
        placed = is_placed(scene.needed, json.loads(pilot.variables))
        if pilot.pool in fitting and placed and not pilot.agent:
            coming.setdefault(pilot.pool, []).append(pilot)
    for pool, pilots in coming.items():
        since = duration(now - min(pilot.submitted for pilot in pilots))
        said = "; ".join(dict.fromkeys(pilot.reason for pilot in pilots if pilot.reason))
        verb = "waits" if len(pilots) == 1 else "wait"
        yield Reason(
            cause=Cause.AGENTS_QUEUED,
            text=f"{counted(pilots)} of pool {pool} {verb} to be started since {since}: "
            + (said or "why, has not been asked yet"),
        )


def _busy(agents: Sequence[ShownAgent]) -> Reason:
    slots, busy = (sum(getattr(agent, name) for agent in agents) for name in ("slots", "busy"))
    return Reason(
        cause=Cause.AGENTS_BUSY,
        text=f"{busy} of {slots} slots at {counted(agents)} for it are busy",
    )


def _nobody(scene: _Scene, fitting: set[str], there: Sequence[ShownAgent]) -> Iterator[Reason]:
    """Yield that nobody comes, and which pools have all agents that they may."""
    full = [
        f"{pool.name} has {pool.max_agents}"
        for pool in scene.pools
        if isinstance(pool, RemotePool)
        and pool.name in fitting
        and sum(pilot.pool == pool.name for pilot in scene.asked_for) >= pool.max_agents
    ]
    if full:
        text = f"no other agent comes before one leaves: pool {', '.join(full)} (max_agents)"
        yield Reason(cause=Cause.NO_AGENT, text=text)
    elif not there:
        text = "no agent that can run it is there, and none is asked for yet"
        yield Reason(cause=Cause.NO_AGENT, text=text)
