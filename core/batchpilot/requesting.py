"""What a pool asks of its batch system: the request, and the launcher that makes it."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time

from batchpilot_agent.launch import agent_command, clean_environment
from batchpilot_agent.launchers.batch import BatchLauncher
from batchpilot_agent.launchers.choosing import BATCH_SYSTEMS
from batchpilot_agent.launchers.nouns import AllocationRequest
from batchpilot_broker.paths import RegistryPaths

from .pools import BatchPool
from .store.allocations import (
    Pilot,
    Stage,
    add_pilots,
    name_allocation,
    update_pilots,
    variables_key,
)
from .store.database import Database


def launcher_of(kind: str, paths: RegistryPaths) -> BatchLauncher:
    """Return the launcher of a kind of pool."""
    return BATCH_SYSTEMS[kind](paths=paths)


def new_allocation() -> str:
    """Return a name for an allocation, unique in the registry for ever."""
    return secrets.token_hex(4)


def request_of(  # noqa: PLR0913 - all that a request depends on
    pool: BatchPool,
    paths: RegistryPaths,
    allocation: str,
    agents: int,
    variables: str,
    *,
    log_format: str,
) -> AllocationRequest:
    """Return the request for some agents of a pool.

    Args:
        pool: The pool.
        paths: The registry.
        allocation: Name of the allocation.
        agents: How many.
        variables: What the job script is rendered with, as JSON.
        log_format: How they write their logs, text or json.
    """
    command = agent_command(
        paths,
        pool.python or sys.executable,
        agent=f"{pool.name}-{allocation}",
        pool=pool.name,
        slots=pool.slots,
        cores=pool.ncpus,
        memory=pool.memory,
        gpus=pool.gpus,
        idle_timeout=pool.idle_timeout,
        start=pool.start,
        walltime=pool.walltime,
        allocation=allocation,
        variables=variables,
        log_format=log_format,
    )
    return AllocationRequest(
        id=allocation,
        pool=pool.name,
        agents=agents,
        command=tuple(command),
        ncpus=pool.ncpus,
        memory=pool.memory,
        gpus=pool.gpus,
        walltime=pool.walltime,
        throttle=pool.throttle,
        variables=json.loads(variables),
        template=pool.template,
        directives_skip=tuple(pool.directives_skip),
        directives_extra=tuple(pool.directives_extra),
        setup=tuple(pool.setup),
        env={**_paths_of(pool), **pool.env},
        work_dir=pool.work_dir or "/",
    )


def _paths_of(pool: BatchPool) -> dict[str, str]:
    """Return where an agent finds what its coordinator finds, if it has the same interpreter."""
    ours = {} if pool.python else {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return {name: value for name, value in clean_environment(ours).items() if value}


def pilots_of(
    pool: BatchPool, allocation: str, agents: int, variables: str, now: float
) -> list[Pilot]:
    """Return what is noted of the agents of a request before it is made."""
    kind = type(pool).__name__
    return [
        Pilot(
            allocation=allocation,
            number=number,
            pool=pool.name,
            kind=kind,
            variables=variables,
            submitted=now,
        )
        for number in range(1, agents + 1)
    ]


def scripts_of(pool: BatchPool, paths: RegistryPaths, agents: int, log_format: str) -> list[str]:
    """Return the job scripts with which a pool would ask for some agents.

    Raises:
        TemplateBroken: They cannot be made.
    """
    variables = variables_key(pool.variables)
    request = request_of(pool, paths, "dry-run", agents, variables, log_format=log_format)
    return launcher_of(type(pool).__name__, paths).scripts(request)


def ask_for_agents(pool: BatchPool, database: Database, agents: int, log_format: str) -> list[str]:
    """Ask for agents now; return what the batch system calls them.

    Raises:
        LaunchError: The batch system refuses.
    """
    paths, allocation, now = database.paths, new_allocation(), time.time()
    variables = variables_key(pool.variables)
    pilots = pilots_of(pool, allocation, agents, variables, now)
    request = request_of(pool, paths, allocation, agents, variables, log_format=log_format)
    submitted = launcher_of(pilots[0].kind, paths).submit(request)
    with database.write() as tx:
        add_pilots(tx, pilots)
        name_allocation(tx, allocation, submitted.ids)
        for pilot, id_ in zip(pilots, submitted.elements, strict=False):
            pilot.id, pilot.stage = id_, Stage.QUEUED
        for pilot in pilots[len(submitted.elements) :]:
            pilot.stage, pilot.reason = Stage.ENDED, submitted.shortfall
        update_pilots(tx, pilots)
    return list(submitted.elements)
