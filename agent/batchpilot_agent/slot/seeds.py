"""Same seed, same numbers: what a job is seeded with, and when.

Before each job `random` and numpy's legacy generator get the job's seed, but only where they are
loaded: to seed costs more than anything else that is done for a small job, and importing them to
seed them would cost every slot. So a finder on `sys.meta_path` seeds each the moment a job
imports it, which is the same state as if it had been there from the start.

This module, and all that a template loads, keep off `importlib.abc`, `tempfile` and the like,
which import `random`.

The seeds are those of batchtools: `start + n`, begun again at 1 beyond 2^31 - 1.
"""

from __future__ import annotations

import _random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


LARGEST_SEED = 2**31 - 1
_RANDOM = "random"
_NUMPY = "numpy.random"


def job_seed(registry_seed: int, job_id: int) -> int:
    """Return the seed of a job.

    Example:
        >>> job_seed(42, 1), job_seed(2147483647, 5)
        (43, 5)
    """
    if job_id > LARGEST_SEED - registry_seed:
        return registry_seed - LARGEST_SEED + job_id
    return registry_seed + job_id


def problem_seed(seed: int, repl: int) -> int:
    """Return the seed of a replication's instance: the problem's own for the first."""
    return job_seed(seed, repl - 1)


def instance_seed(problem: int | None, repl: int, job: int) -> int:
    """Return the seed under which an instance is made.

    Args:
        problem: The problem's seed; None where it has none.
        repl: The replication.
        job: The job's seed, which is taken then.
    """
    return job if problem is None else problem_seed(problem, repl)


class Seeder:
    """Seed the generators that are loaded, and those loaded later in the same job."""

    def __init__(self) -> None:
        self._seed: int | None = None
        self._bit_generator: Any = None

    def install(self) -> None:
        """Begin to seed generators when they are imported; a finder of ours may stay in front."""
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Stop seeding at import."""
        sys.meta_path.remove(self)

    def seed(self, seed: int) -> None:
        """Seed everything loaded now, and until the next call what is imported."""
        self._seed = seed
        modules = sys.modules
        if _RANDOM in modules:
            _seed_random(modules[_RANDOM], seed)
        if _NUMPY in modules:
            self._seed_numpy(modules[_NUMPY], seed)

    def imported(self, module: ModuleType) -> None:
        """Seed a generator that has just been imported, when a job runs."""
        if self._seed is None:
            return
        if module.__name__ == _RANDOM:
            _seed_random(module, self._seed)
        else:
            self._seed_numpy(module, self._seed)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a generator by the finders behind this one, to seed it when it is loaded."""
        if fullname not in (_RANDOM, _NUMPY):
            return None
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :]
        for finder in behind:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _SeedingLoader(spec.loader, self)  # type: ignore[assignment]  # to be an ABC would import `random`
                return spec
        return None

    def _seed_numpy(self, module: Any, seed: int) -> None:
        """Seed numpy's legacy generator, put back on its own bit generator."""
        if not hasattr(module, "get_bit_generator"):
            return  # half imported: its loader calls again
        now = module.get_bit_generator()
        if self._bit_generator is None:
            self._bit_generator = now
        elif now is not self._bit_generator:
            module.set_bit_generator(self._bit_generator)
        module.seed(seed)


class _SeedingLoader:
    """Load a module as its own loader does, then have it seeded."""

    def __init__(self, loader: Any, seeder: Seeder) -> None:
        self._loader = loader
        self._seeder = seeder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._seeder.imported(module)


def _seed_random(module: Any, seed: int) -> None:
    """Do what `random.seed(seed)` does for an int, without its tests of types."""
    instance = getattr(module, "_inst", None)
    if isinstance(instance, _random.Random):
        _random.Random.seed(instance, seed)
        instance.gauss_next = None  # type: ignore[attr-defined]  # of the subclass in `random`


@contextmanager
def kept_generators() -> Iterator[Seeder]:
    """Yield a seeder whose seeds are undone at the end: for jobs run in the user's own process.

    A generator that the job has imported is seeded anew by chance.
    """
    seeder = Seeder()
    states = [(name, _state(name)) for name in (_RANDOM, _NUMPY)]
    seeder.install()
    try:
        yield seeder
    finally:
        seeder.uninstall()
        for name, state in states:
            if name in sys.modules:
                _give_back(sys.modules[name], state)


def _state(name: str) -> Any:
    module: Any = sys.modules.get(name)
    if module is None:
        return None
    return module.getstate() if name == _RANDOM else module.get_state()


def _give_back(module: Any, state: Any) -> None:
    if state is None:
        module.seed()
    elif module.__name__ == _RANDOM:
        module.setstate(state)
    else:
        module.set_state(state)
