"""What an agent was started with, and the exit codes it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from batchpilot_broker.paths import RegistryPaths


MARGIN = 10.0
"""Seconds before the end of its allocation by which an agent is gone."""


class Exit(IntEnum):
    """How an agent ends; 128 + n when signal n ended its pilot."""

    LEFT = 0
    USAGE = 2
    REGISTRY_GONE = 66
    BROKER_GONE = 69
    FAILED = 70
    REFUSED = 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold what an agent was started with.

    Attributes:
        paths: The registry.
        instance: The registry's instance, the only one it works for.
        agent: Its name, unique in the registry for ever.
        pool: Pool that started it.
        scratch: Its private directory on local disk, removed by the keeper.
        slots: Most jobs at once.
        cores: Cores its jobs may use together.
        memory: MB its jobs may use together, 0 for unlimited.
        devices: Names of the devices its jobs may use together, each job some of them.
        device_variables: Names of the variables by which jobs are told them.
        idle_timeout: Seconds without work, while a coordinator lives, after which it leaves.
        orphan_timeout: Seconds without any coordinator after which it leaves.
        grace: Seconds that running jobs get when the agent is to leave: to write a checkpoint, or
            just to end.
        start: "fork": slots are forked from a process that has imported the code; "spawn": each
            slot imports it itself, for libraries that start threads when they are imported.
        started: Unix time of its start.
        began: Unix time from which its walltime counts: the start of the script it has come from.
        deadline: Unix time at which its allocation ends, 0 where nothing says.
        allocation: Its allocation and element there, as "3f2a.7", "" for none.
        scheduler_id: Its name in the batch system, "" outside of any.
        remote: Whether the coordinator is on another host, and has to see what this agent writes.
        crowd: Agents that start at once with it; it waits a moment before it speaks to the broker.
        variables: What its job script was rendered with: it serves no jobs that ask for other
            values; None where there was no script, and it serves all.
    """

    paths: RegistryPaths
    instance: str
    agent: str
    pool: str
    scratch: Path
    slots: int
    cores: int
    memory: float = 0.0
    devices: tuple[str, ...] = ()
    device_variables: tuple[str, ...] = ()
    idle_timeout: float = 300.0
    orphan_timeout: float = 3600.0
    grace: float = 10.0
    start: str = "fork"
    started: float = 0.0
    began: float = 0.0
    deadline: float = 0.0
    allocation: str = ""
    scheduler_id: str = ""
    remote: bool = False
    crowd: int = 1
    variables: Mapping[str, Any] | None = None

    @property
    def markers(self) -> dict[str, str]:
        """Return what every process of this agent carries in its environment."""
        return {"BATCHPILOT_INSTANCE": self.instance, "BATCHPILOT_AGENT": self.agent}
