"""A registry whose coordinator may have a seat at a batch system in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.core.coordinator.batch_site import MemoryLauncher

import batchpilot as bp
from batchpilot.registry.whole import Registry
from batchpilot.seat import (
    Seat,
    Sitter,
    write_record,
)
from batchpilot.seating import Seating
from batchpilot_agent.launchers.nouns import AllocationRequest, ElementState, ElementStatus
from batchpilot_broker.paths import RegistryPaths


CANCELLED = ElementStatus(state=ElementState.ENDED, reason="CANCELLED")
FAILED = ElementStatus(state=ElementState.ENDED, reason="FAILED NonZeroExitCode", failed=True)
PENDING = ElementStatus(state=ElementState.QUEUED, reason="PENDING Resources")


@dataclass
class Site:
    """A registry with a pool of a batch system in memory, and a clock."""

    registry: Registry
    slurm: MemoryLauncher = field(default_factory=MemoryLauncher)
    now: float = 1000.0

    @property
    def paths(self) -> RegistryPaths:
        """Return the registry's files."""
        return self.registry.paths

    @property
    def seating(self) -> Seating:
        """Return what sees to the seat; another one in every session."""
        return Seating(self.paths, launcher=lambda *_: self.slurm, clock=lambda: self.now)

    @property
    def request(self) -> AllocationRequest:
        """Return what was asked for last."""
        return self.slurm.requests[-1]

    def sit(self, seat: Seat, *, left: str = "", failed: bool = False) -> None:
        """Have the supervisor in an allocation begin, or leave."""
        self.paths.allocation(seat.allocation).mkdir(exist_ok=True)
        sitter = Sitter(host="node7", pid=1, began=self.now, left=left, failed=failed)
        write_record(self.paths.sitter(seat.allocation), sitter)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with bp.make_registry(tmp_path / "study", seed=1) as registry:
        resources = {"walltime": 7200, "memory": 16000, "partition": "main", "gpus": 1}
        registry.pools = [
            bp.pools.Local(slots=1),
            bp.pools.Slurm(slots=8, resources=resources, setup=["module load x"], throttle=3),
        ]
        yield Site(registry)


@pytest.fixture
def seat(site: Site) -> Seat:
    """Give a seat that waits in the queue."""
    taken = site.seating.take("slurm")
    site.paths.allocation(taken.allocation).mkdir()  # where a real launcher keeps the script
    site.slurm.status[taken.job] = PENDING
    return taken
