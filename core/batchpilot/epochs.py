"""Keep the code of a submission: its function, and all of the user's that it may import.

Installed libraries are expected on the nodes; all other loaded modules are stored by content with
each submission, so edited files never change queued jobs. What the agents read is
`batchpilot_agent.manifest.Manifest`.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from batchpilot_agent.manifest import (
    Dependencies,
    Manifest,
    StoredAlgorithm,
    StoredModule,
    StoredProblem,
    python_minor,
)
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.slot.finder import OWN_PACKAGES

from .functions import Parameters, describe_function, pickle_function
from .pickled import files_in


__all__ = [
    "Definition",
    "Parameters",
    "describe_function",
    "is_installed",
    "pickle_function",
    "store_epoch",
]

_INSTALLED = frozenset(("site-packages", "dist-packages"))
_NOTHING = Dependencies()


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Hold what a registry's jobs call.

    Attributes:
        function: Hash of the pickled function; "" in experiments.
        names: Names of the parameters, in the order of each job's tuple of values.
        positional: Those of them that go by position, in that order.
        passes_job: Whether the function has a parameter `job`.
        more_args: Hash of the pickled static arguments - a dict, or (positional, dict) - or None.
        problems: What instances are made of; only in experiments.
        algorithms: What is applied to them.
    """

    function: str = ""
    names: tuple[str, ...]
    positional: tuple[str, ...] = ()
    passes_job: bool = False
    more_args: str | None = None
    problems: tuple[StoredProblem, ...] = ()
    algorithms: tuple[StoredAlgorithm, ...] = ()

    @property
    def functions(self) -> tuple[str, ...]:
        """Return the hashes of all functions that its jobs call."""
        parts: list[StoredProblem | StoredAlgorithm] = [*self.problems, *self.algorithms]
        names = (self.function, *(part.function for part in parts))
        return tuple(dict.fromkeys(name for name in names if name))

    def to_wire(self) -> dict[str, Any]:
        """Return the map that the registry keeps."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Definition:
        """Return the definition that a map describes."""
        known = {name: wire[name] for name in cls.__dataclass_fields__ if name in wire}
        for name in ("names", "positional"):
            known[name] = tuple(known.get(name, ()))
        known["problems"] = tuple(map(StoredProblem.from_wire, wire.get("problems", ())))
        known["algorithms"] = tuple(StoredAlgorithm(*one) for one in wire.get("algorithms", ()))
        return cls(**known)


def store_epoch(
    store: ObjectStore,
    definition: Definition,
    *,
    work_dir: str | Path,
    first: str | None = None,
    dependencies: Dependencies = _NOTHING,
) -> str:
    """Store the code that this process would run a definition with; return the epoch.

    Equal code makes an equal epoch, so agents go on with the templates they have.

    Args:
        store: The registry's objects.
        definition: What the jobs call.
        work_dir: Where jobs begin.
        first: The epoch of the definition. Its modules that this session has not loaded are taken
            as their files are now, or as they were then where the files are gone.
        dependencies: What agents provide before they load the function.

    Raises:
        StorageError: The registry cannot be written.
    """
    modules = {module.name: module for module in _modules(store)}
    for function in definition.functions:
        modules |= {cell.name: cell for cell in _cells(store, store.get(function))}
    path = list(_path())
    if first is not None:
        then = Manifest.from_bytes(store.get(first))
        for module in then.modules:
            modules.setdefault(module.name, _renewed(store, module))
        path += [entry for entry in then.path if entry not in path]
    manifest = Manifest(
        function=definition.function,
        names=definition.names,
        positional=definition.positional,
        passes_job=definition.passes_job,
        more_args=definition.more_args,
        problems=definition.problems,
        algorithms=definition.algorithms,
        modules=tuple(sorted(modules.values())),
        path=tuple(path),
        work_dir=str(Path(work_dir).absolute()),
        python=python_minor(),
        dependencies=dependencies,
    )
    return store.put(manifest.to_bytes())


def is_installed(path: str) -> bool:
    """Tell whether a file or directory belongs to Python or to an installed library."""
    return path.startswith(_standard()) or not _INSTALLED.isdisjoint(Path(path).parts)


@cache
def _standard() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths["stdlib"], paths["platstdlib"], str(Path(os.__file__).parent)}
    found |= {os.path.realpath(path) for path in found}
    return tuple(path + os.sep for path in found)


def _modules(store: ObjectStore) -> Iterator[StoredModule]:
    """Yield the user's own loaded modules, their sources stored."""
    loaded: dict[str, ModuleType | None] = dict(sys.modules)
    for name, module in loaded.items():
        if module is not None and name.partition(".")[0] not in OWN_PACKAGES:
            stored = _stored(store, name, module)
            if stored is not None:
                yield stored


def _cells(store: ObjectStore, function: bytes) -> Iterator[StoredModule]:
    """Yield the cells of a notebook that a function, going by value, was defined in.

    No file holds them; the session keeps their lines for its own tracebacks.
    """
    for name in files_in(function):
        lines = linecache.getlines(name)
        if lines and not Path(name).is_file():
            source = store.put("".join(lines).encode())
            yield StoredModule(name, is_package=False, origin=name, source=source)


def _renewed(store: ObjectStore, module: StoredModule) -> StoredModule:
    """Return a module of an older epoch as its file is now."""
    origin = Path(module.origin)
    if module.source is None or not origin.is_file():
        return module
    return module._replace(source=store.put_file(origin))


def _stored(store: ObjectStore, name: str, module: ModuleType) -> StoredModule | None:
    origin = getattr(module, "__file__", None)
    if not isinstance(origin, str):
        return _namespace(name, module)
    origin = str(Path(origin).absolute())
    if is_installed(origin) or not Path(origin).is_file():
        return None
    source = store.put_file(Path(origin)) if origin.endswith(".py") else None
    if source is None and name == "__main__":
        return None  # a program that is no Python source, such as a notebook's launcher
    return StoredModule(name, hasattr(module, "__path__"), origin, source)


def _namespace(name: str, module: ModuleType) -> StoredModule | None:
    """Return a package without a file, where a part of it is the user's own."""
    places = [str(Path(place).absolute()) for place in getattr(module, "__path__", ())]
    if not places or any(map(is_installed, places)):
        return None
    return StoredModule(name, is_package=True, origin=os.pathsep.join(places), source=None)


def _path() -> Iterator[str]:
    """Yield the user's own entries of sys.path: script directory, working directory."""
    seen = set()
    for entry in sys.path:
        path = str(Path(entry or ".").absolute())
        if path not in seen and not is_installed(path + os.sep) and Path(path).exists():
            seen.add(path)
            yield path
