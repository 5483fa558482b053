"""What stands between a job and the user's function, where a job is more than one plain call of it.

Instances are pickled with a submission's code and unpickled by agents, which have no core: they
live here and load nothing. What jobs may change is made anew for each of them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from batchpilot_broker.paths import RegistryPaths

from .job import Job
from .objects import ObjectStore


RESULT = "_result"
"""Name of the value that carries another registry's result; no table shows it."""

ORIGIN = "_id"
"""Name of the parameter that says whose result that is."""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """Hold the user's function that is called in the end.

    Attributes:
        func: The function.
    """

    func: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Applying(Wrapping):
    """Call a function with its first argument by position: one that names no parameters."""

    def __call__(self, x: Any, /, **named: Any) -> Any:
        """Return what the function returns."""
        return self.func(x, **named)


@dataclass(frozen=True, slots=True)
class Folding(Wrapping):
    """Fold the block of one job from the left, as `functools.reduce` does.

    Attributes:
        init: Pickle of what each job begins with; None where it begins with its first element.
    """

    init: bytes | None = None

    def __call__(self, block: Sequence[Any], /, **named: Any) -> Any:
        """Return the last value of the function."""
        step = partial(self.func, **named) if named else self.func
        if self.init is None:
            return reduce(step, block)
        return reduce(step, block, pickle.loads(self.init))  # noqa: S301 - came with the function


@dataclass(frozen=True, slots=True)
class Continuing(Wrapping):
    """Call a function with a result of another registry.

    Attributes:
        passes_job: Whether the function has a parameter `job`.
    """

    passes_job: bool = False

    def __call__(self, carried: bytes | str, /, *, job: Job, **named: Any) -> Any:
        """Return what the function makes of the result.

        Args:
            carried: Pickle of the result, or the hash of the object that holds it.
            job: The job.
            **named: Arguments of the function, and whose result it is.
        """
        origin = named.pop(ORIGIN)
        if self.passes_job:
            shown = {name: value for name, value in job.pars.items() if name != RESULT}
            named["job"] = replace(job, pars=shown)
        return self.func(_unpickled(carried, job, origin), **named)


def _unpickled(carried: bytes | str, job: Job, origin: int) -> Any:
    objects = ObjectStore(RegistryPaths(job.registry).objects)
    data = objects.get(carried) if isinstance(carried, str) else carried
    try:
        return pickle.loads(data)  # noqa: S301 - came sealed, or compared with its hash
    except Exception as error:  # a user's class may raise anything while it is unpickled
        error.add_note(f"while the result of job {origin} of the source was unpickled")
        raise
