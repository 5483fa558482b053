"""Start by hand, locally or at a batch system: agents, and there the coordinator, too."""

from __future__ import annotations

import json
import os
from contextlib import closing

from batchpilot_broker.journal import LogFormat
from batchpilot_broker.paths import RegistryPaths

from . import control
from .errors import BatchpilotError
from .pools import AgentPool, BatchPool, External, Local, RemotePool, from_records
from .requesting import ask_for_agents, scripts_of, start_local
from .seat import Seat
from .seating import Seating
from .store.database import Database
from .store.snapshots import reading


def seat_coordinator(paths: RegistryPaths, pool: str, walltime: float | None = None) -> Seat:
    """Have the coordinator run in an allocation of a batch system from now on.

    Args:
        paths: The registry's files.
        pool: Pool through which it is submitted.
        walltime: Seconds, by default those of the pool's agents, or a day.

    Raises:
        CoordinatorFailed: It does so already.
        LaunchError: The batch system refuses.
    """
    if os.environ.get("BATCHPILOT_BROKER_URL"):
        control.start_broker(paths)  # the node learns of it by the record alone
    return Seating(paths).take(pool, walltime)


def start_agents(paths: RegistryPaths, pool: str | None = None, n: int = 1) -> list[str]:
    """Start agents now, whether or not there is work.

    Returns:
        Their ids; of agents at a batch system, what that calls them.

    Raises:
        LaunchError: The batch system refuses.
    """
    chosen = _chosen_pool(paths, pool)
    control.start(paths)
    if isinstance(chosen, RemotePool):
        database = Database(paths)
        try:
            return ask_for_agents(chosen, database, n, _log_format(paths))
        finally:
            database.close()
    if not isinstance(chosen, Local):
        raise _no_pool(chosen.name)
    return [_start_local(paths, chosen) for _ in range(n)]


def dry_run(paths: RegistryPaths, pool: str | None = None, n: int = 1) -> list[str]:
    """Return the job scripts with which agents would be asked for.

    Raises:
        BatchpilotError: The pool has none.
    """
    chosen = _chosen_pool(paths, pool)
    if not isinstance(chosen, BatchPool):
        raise BatchpilotError(
            f"agents of pool {chosen.name} are started without a job script",
            remedy="choose a pool of a batch system with --pool",
        )
    return scripts_of(chosen, paths, n, _log_format(paths))


def _chosen_pool(paths: RegistryPaths, pool: str | None) -> AgentPool:
    with closing(reading(paths)) as database, database.read() as tx:
        stored = tx.meta("pools")
    pools = from_records(json.loads(stored)) if stored else [Local()]
    for each in pools:
        if isinstance(each, External) or not isinstance(each, AgentPool):
            continue
        if pool in (None, each.name):
            return each
    raise _no_pool(pool)


def _no_pool(pool: str | None) -> BatchpilotError:
    return BatchpilotError(
        f"there is no pool {pool or 'of ours'!r} whose agents can be started",
        remedy="assign it to reg.pools first; agents of an external pool: `agents run`",
    )


def _log_format(paths: RegistryPaths) -> str:
    return str(control.kept(paths, "log_format") or LogFormat.TEXT)


def _start_local(paths: RegistryPaths, pool: Local) -> str:
    agent, keeper = start_local(pool, paths, _log_format(paths))
    control.started_agents.append(keeper)
    return agent
