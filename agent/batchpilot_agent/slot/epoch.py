"""Load the code of a submission: a map's function, or the problems and algorithms of experiments.

Every object is compared with its hash before it is unpickled or compiled. Loading provides what
the registry's functions depend on, imports what they need and unpickles them with their static
arguments and data; it calls none of the user's functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import Any

import msgpack

from batchpilot_agent.errors import EpochError, ImportFailed
from batchpilot_agent.failures import Failure, describe
from batchpilot_agent.job import Job
from batchpilot_agent.manifest import Manifest, StoredModule, python_minor
from batchpilot_agent.objects import ObjectStore

from .data import load_pickle
from .dependencies import overrule, provide
from .experiment import Experiments, read_experiments
from .finder import EpochFinder


__all__ = ["Call", "EpochFinder", "Loaded", "LoadedEpoch", "Manifest", "StoredModule", "load_epoch"]

Call = Callable[[tuple[Any, ...], Job | None], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEpoch:
    """Hold a map's function, ready to be called.

    Attributes:
        function: The user's function.
        names: Names of the parameters in the order of a job's values.
        passes_job: Whether it wants the job.
        more_args: Arguments that are the same for all jobs: by position, by name.
        call: Calls the function with a job's values, and the job where it is wanted.
    """

    function: Callable[..., Any]
    names: tuple[str, ...]
    passes_job: bool
    more_args: tuple[tuple[Any, ...], Mapping[str, Any]]
    call: Call = field(repr=False)

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """Return the user's function, as the only one."""
        return [self.function]


Loaded = LoadedEpoch | Experiments
"""The code of a submission: of a map, or of experiments."""


def load_epoch(store: ObjectStore, epoch: str) -> Loaded:
    """Load an epoch into this process: finder, path, working directory, dependencies, functions.

    Raises:
        ObjectMissing: An object is not there.
        ObjectForged: An object is damaged.
        EpochError: It was made with another Python, or its working directory is gone.
        ImportFailed: An import, a sourced file or the unpickling fails; `__cause__` is the user's
            error.
    """
    manifest = Manifest.from_bytes(store.get(epoch))
    _check_python(manifest)
    # All of it is read, and compared with its hash, before anything of it runs.
    load = _read(store, manifest)
    finder = EpochFinder(store, manifest.modules)
    _enter(manifest)
    finder.install()
    finder.remember_main()
    exports = provide(store, manifest.dependencies)
    loaded = load()
    for function in loaded.functions:
        overrule(function, exports)
    return loaded


def failure_of(error: EpochError) -> Failure:
    """Return what jobs are told whose code cannot be loaded: the user's own error, if it is one."""
    cause = error.__cause__ if isinstance(error, ImportFailed) else None
    return describe(cause or error)


def make_call(
    function: Callable[..., Any],
    *,
    names: Sequence[str],
    positional: Sequence[str] = (),
    passes_job: bool = False,
    more_args: tuple[Sequence[Any], Mapping[str, Any]] = ((), {}),
) -> Call:
    """Return what calls a function with a job's values.

    Args:
        function: The user's function.
        names: Names of the values.
        positional: Those of them that go by position; static ones follow them.
        passes_job: Whether `job` is passed, by name.
        more_args: Static arguments by position and by name.
    """
    more_positional, more_named = tuple(more_args[0]), dict(more_args[1])
    if not positional and not more_positional and _begins_with(function, names):
        positional = names  # the same call, without a dict for each
    if tuple(positional) == tuple(names) and not more_positional:
        return _by_position(function, more_named, passes_job=passes_job)
    picks = [names.index(name) for name in positional]
    named = [(i, name) for i, name in enumerate(names) if name not in positional]

    def call(values: tuple[Any, ...], job: Job | None) -> Any:
        arguments = {name: values[i] for i, name in named} | more_named
        if passes_job:
            arguments["job"] = job
        return function(*[values[i] for i in picks], *more_positional, **arguments)

    return call


def _by_position(
    function: Callable[..., Any], more_named: dict[str, Any], *, passes_job: bool
) -> Call:
    if passes_job:
        return lambda values, job: function(*values, job=job, **more_named)
    if more_named:
        return lambda values, _: function(*values, **more_named)
    return lambda values, _: function(*values)


def _begins_with(function: Callable[..., Any], names: Sequence[str]) -> bool:
    """Tell whether a plain function begins with these parameters, so that position does."""
    if type(function) is not FunctionType:
        return False
    code = function.__code__
    return code.co_varnames[: min(code.co_argcount, len(names))] == tuple(names)


def _check_python(manifest: Manifest) -> None:
    if manifest.python != python_minor():
        raise EpochError(
            f"the jobs were submitted with Python {manifest.python}, this is {python_minor()}",
            remedy="give the pool a Python of that version (`python=`), or submit again",
        )


def _enter(manifest: Manifest) -> None:
    """Go where the session was: working directory and import path."""
    try:
        os.chdir(manifest.work_dir)
    except OSError as error:
        raise EpochError(
            f"the working directory {manifest.work_dir} cannot be entered: {error.strerror}",
            remedy="make it on this node, or make the registry with another work_dir",
        ) from error
    new = [entry for entry in manifest.path if entry not in sys.path]
    sys.path[:0] = new


def _read(store: ObjectStore, manifest: Manifest) -> Callable[[], Loaded]:
    """Read what is called; return what unpickles it."""
    if not manifest.function:
        code = _importable(manifest)
        return read_experiments(store, manifest.problems, manifest.algorithms, code=code)
    function = store.get(manifest.function)
    more_args = store.get(manifest.more_args) if manifest.more_args else None
    return partial(_load, manifest, function, more_args)


def _importable(manifest: Manifest) -> bytes:
    """Return what stands for all that functions may import or find.

    Not for the script or the cells that they were defined in: with what they use of those, they
    come by value.
    """
    modules = [
        (module.name, module.source)
        for module in manifest.modules
        if module.name not in ("__main__", module.origin)
    ]
    code: bytes = msgpack.packb([manifest.python, modules, manifest.dependencies.to_wire()])
    return code


def _load(manifest: Manifest, function: bytes, more_args: bytes | None) -> LoadedEpoch:
    loaded = load_pickle(function)
    static = load_pickle(more_args) if more_args else ((), {})
    more = ((), static) if isinstance(static, dict) else (tuple(static[0]), static[1])
    return LoadedEpoch(
        function=loaded,
        names=manifest.names,
        passes_job=manifest.passes_job,
        more_args=more,
        call=make_call(
            loaded,
            names=manifest.names,
            positional=manifest.positional,
            passes_job=manifest.passes_job,
            more_args=more,
        ),
    )
