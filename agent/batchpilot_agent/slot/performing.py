"""What becomes of a job's parameters: the call of a map, or an experiment.

Which of both is chosen once, when a slot begins; every line here is paid by each job of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from batchpilot_agent.job import Job
from batchpilot_broker.paths import RegistryPaths

from .epoch import Loaded, LoadedEpoch
from .experiment import Experiments
from .instances import InstanceCache
from .order import Order
from .seeds import Seeder, job_seed
from .values import ValueReader


SPENT = "data"
"""Why a slot leaves that would have to unpickle large data for its next job."""

LeftBehind = Callable[[float], str]


class Performer(Protocol):
    """Perform the jobs of one epoch."""

    def perform(self, order: Order, index: int, job: int) -> Any:
        """Return the result of one job, or raise what the user's function raises."""

    def leaving(self, left_behind: LeftBehind) -> LeftBehind:
        """Return what says, after a job of so many seconds, why this process must go."""


class MapPerformer:
    """Call the function of a map.

    Args:
        epoch: What to call.
        registry: The registry's directory.
        values: Reads parameters.
        seeder: Seeds the generators.
    """

    def __init__(
        self, epoch: LoadedEpoch, registry: Path, values: ValueReader, seeder: Seeder
    ) -> None:
        self._names = epoch.names
        self._passes_job = epoch.passes_job
        self._call = epoch.call
        self._registry = registry
        self._read = values.read
        self._seed = seeder.seed

    def perform(self, order: Order, index: int, job: int) -> Any:
        """Return the result of one job."""
        self._seed(job_seed(order.seed, job))
        values = self._read(order.pars[order.offsets[index] : order.offsets[index + 1]])
        return self._call(values, self._job(order, job, values) if self._passes_job else None)

    def leaving(self, left_behind: LeftBehind) -> LeftBehind:
        """Return the question as it is: a map leaves nothing of its own behind."""
        return left_behind

    def _job(self, order: Order, job: int, values: tuple[Any, ...]) -> Job:
        return Job(
            id=job,
            attempt=order.attempt,
            pars=dict(zip(self._names, values, strict=True)),
            resources=order.shown,
            seed=job_seed(order.seed, job),
            stream=(order.seed, (0, job)),
            registry=self._registry,
        )


class ExperimentPerformer:
    """Run experiments.

    Their parameters are two pickles, one in the other: (problem, algorithm, replication, bytes),
    and in the bytes (parameters of the problem, parameters of the algorithm).

    Args:
        experiments: The problems and algorithms.
        registry: The registry's directory.
        values: Reads parameters.
        seeder: Seeds the generators.
    """

    def __init__(
        self, experiments: Experiments, registry: Path, values: ValueReader, seeder: Seeder
    ) -> None:
        self._experiments = experiments
        self._registry = registry
        self._read = values.read
        self._seed = seeder.seed
        self._cache = InstanceCache(RegistryPaths(registry))

    def perform(self, order: Order, index: int, job: int) -> Any:
        """Return the result of one job."""
        seed = job_seed(order.seed, job)
        row = order.pars[order.offsets[index] : order.offsets[index + 1]]
        problem, algorithm, repl, pars = self._read(row)
        prob_pars, algo_pars = self._read(pars)
        noun = Job(
            id=job,
            attempt=order.attempt,
            pars={"prob_pars": prob_pars, "algo_pars": algo_pars},
            resources=order.shown,
            seed=seed,
            stream=(order.seed, (0, job)),
            registry=self._registry,
            repl=repl,
            instance_seed=self._experiments.instance_seed(problem, repl, seed),
            problem=problem,
            algorithm=algorithm,
        )
        return self._experiments.run(noun, self._seed, self._cache)

    def leaving(self, left_behind: LeftBehind) -> LeftBehind:
        """Return the question, asked of the data first."""
        spent = self._experiments.spent
        return lambda took: SPENT if spent() else left_behind(took)


def make_performer(epoch: Loaded, registry: Path, values: ValueReader, seeder: Seeder) -> Performer:
    """Return what performs the jobs of an epoch."""
    if isinstance(epoch, Experiments):
        return ExperimentPerformer(epoch, registry, values, seeder)
    return MapPerformer(epoch, registry, values, seeder)
