"""What a pool asks of its batch system: the request, and the launcher that makes it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from batchpilot_agent.launch import agent_command, clean_environment, launch_local, probe_command
from batchpilot_agent.launchers.batch import BatchLauncher
from batchpilot_agent.launchers.choosing import BATCH_SYSTEMS
from batchpilot_agent.launchers.nouns import AllocationRequest
from batchpilot_agent.launchers.ssh import SSHLauncher, host_of
from batchpilot_broker.journal import LogFormat
from batchpilot_broker.paths import RegistryPaths

from .pools import SSH, BatchPool, Local, RemotePool
from .store.allocations import (
    Pilot,
    Stage,
    add_pilots,
    name_allocation,
    update_pilots,
    variables_key,
)
from .store.database import Database


PROBE_SECONDS = 60.0
"""Walltime of a probe."""


def launcher_of(kind: str, paths: RegistryPaths) -> BatchLauncher | SSHLauncher:
    """Return the launcher of a kind of pool."""
    if kind == SSH.__name__:
        return SSHLauncher(paths=paths)
    return BATCH_SYSTEMS[kind](paths=paths)


def new_allocation() -> str:
    """Return a name for an allocation, unique in the registry for ever."""
    return secrets.token_hex(4)


def request_of(  # noqa: PLR0913 - all that a request depends on
    pool: RemotePool,
    paths: RegistryPaths,
    allocation: str,
    agents: int,
    variables: str,
    *,
    taken: Sequence[str] = (),
    log_format: str,
) -> AllocationRequest:
    """Return the request for some agents of a pool.

    Args:
        pool: The pool.
        paths: The registry.
        allocation: Name of the allocation.
        agents: How many.
        variables: What the job script is rendered with, as JSON.
        taken: Elements of the pool that have not ended: their hosts get no other agent.
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
        grace=pool.grace,
        start=pool.start,
        walltime=pool.walltime,
        allocation=allocation,
        variables=variables,
        crowd=agents,
        log_format=log_format,
    )
    request = AllocationRequest(
        id=allocation,
        pool=pool.name,
        agents=agents,
        command=tuple(command),
        ncpus=pool.ncpus,
        memory=pool.memory,
        gpus=pool.gpus,
        walltime=pool.walltime,
        grace=pool.grace,
        variables=json.loads(variables),
        setup=tuple(pool.setup),
        env={**_paths_of(pool), **pool.env},
        work_dir=pool.work_dir or "/",
    )
    if isinstance(pool, SSH):
        return replace(request, hosts=_free_hosts(pool, taken), max_load=pool.max_load)
    if not isinstance(pool, BatchPool):
        return request
    return replace(
        request,
        throttle=pool.throttle,
        template=pool.template,
        directives_skip=tuple(pool.directives_skip),
        directives_extra=tuple(pool.directives_extra),
    )


def probe_request(pool: RemotePool, paths: RegistryPaths, allocation: str) -> AllocationRequest:
    """Return the request for a probe: an agent's in all but what is started, and for how long."""
    variables = variables_key(pool.variables)
    request = request_of(pool, paths, allocation, 1, variables, log_format=LogFormat.TEXT)
    command = probe_command(paths, pool.python or sys.executable, allocation)
    return replace(request, command=tuple(command), walltime=PROBE_SECONDS)


def start_local(
    pool: Local, paths: RegistryPaths, log_format: str
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start an agent of a local pool; return its name and its keeper.

    Args:
        pool: The pool.
        paths: The registry.
        log_format: How it writes its log, text or json.
    """
    agent = f"{pool.name}-{secrets.token_hex(4)}"
    keeper = launch_local(
        paths,
        agent_id=agent,
        pool=pool.name,
        slots=pool.slots,
        cores=pool.ncpus,
        memory=pool.memory,
        gpus=pool.gpus,
        idle_timeout=pool.idle_timeout,
        start=pool.start,
        log_format=log_format,
    )
    return agent, keeper


def _free_hosts(pool: SSH, taken: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts without an agent."""
    busy = {host_of(element) for element in taken}
    return tuple(host for host in pool.hosts if host not in busy)


def _paths_of(pool: RemotePool) -> dict[str, str]:
    """Return where an agent finds what its coordinator finds, if it has the same interpreter."""
    ours = {} if pool.python else {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return {name: value for name, value in clean_environment(ours).items() if value}


def pilots_of(
    pool: RemotePool, allocation: str, agents: int, variables: str, now: float
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


def ask_for_agents(pool: RemotePool, database: Database, agents: int, log_format: str) -> list[str]:
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
        names = dict(enumerate(submitted.elements, 1))
        for pilot in pilots:
            pilot.id = names.get(pilot.number, "")
            pilot.stage = Stage.QUEUED if pilot.id else Stage.ENDED
            pilot.reason = "" if pilot.id else submitted.shortfall
        update_pilots(tx, pilots)
    return [pilot.id for pilot in pilots if pilot.id]
