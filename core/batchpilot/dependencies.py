"""What the functions of a registry depend on: packages, source files, exported objects.

Agents provide them before they load a function (`batchpilot_agent.slot.dependencies`). A session
tries packages and sources when it makes or loads the registry, and only warns where they fail: the
nodes may have what this computer lacks.
"""

from __future__ import annotations

import builtins
import keyword
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, chdir
from importlib import import_module
from pathlib import Path
from typing import Any

from batchpilot_agent.manifest import Dependencies, StoredExport, StoredSource
from batchpilot_agent.objects import ObjectStore, content_hash
from batchpilot_agent.slot.dependencies import defined, new_namespace, run_source

from .errors import DefinitionError
from .notices import warn


class UnwrittenObjects(ObjectStore):
    """Keep what is put to a registry's objects in memory: for looking at what they would do."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._held: dict[str, bytes] = {}

    def put(self, data: bytes | memoryview) -> str:
        """Hold bytes and return their hash."""
        name = content_hash(data)
        self._held[name] = bytes(data)
        return name

    def get(self, name: str) -> bytes:
        """Return the bytes of an object, held or stored."""
        held = self._held.get(name)
        return super().get(name) if held is None else held

    def has(self, name: str) -> bool:
        """Tell whether an object is held or stored."""
        return name in self._held or super().has(name)


def store_dependencies(
    store: ObjectStore,
    *,
    packages: Iterable[str],
    source: Iterable[str],
    exports: Mapping[str, str],
    work_dir: Path,
) -> Dependencies:
    """Store the sources as they are now and return what an epoch says of the dependencies.

    Args:
        store: The registry's objects.
        packages: Modules.
        source: Files, relative ones below `work_dir`; one that is missing is the jobs' error.
        exports: Hashes of pickled objects by name.
        work_dir: The registry's working directory.
    """
    paths = [_path(name, work_dir) for name in source]
    return Dependencies(
        packages=tuple(packages),
        sources=tuple(StoredSource(str(path), _stored(store, path)) for path in paths),
        exports=tuple(StoredExport(name, value) for name, value in sorted(exports.items())),
    )


def try_dependencies(*, packages: Iterable[str], source: Iterable[str], work_dir: Path) -> None:
    """Import packages and run sources in this session, with warnings where they fail.

    What the sources define becomes global in `__main__`.
    """
    for package in packages:
        _trying(f"package {package} cannot be imported here", import_module, package)
    names = new_namespace()
    with ExitStack() as stack:
        if work_dir.is_dir():
            stack.enter_context(chdir(work_dir))
        for name in source:
            path = _path(name, work_dir)
            _trying(f"source file {path} fails here", _run, path, names)
    vars(sys.modules["__main__"]).update(defined(names))


def check_export_name(name: object) -> None:
    """Refuse a name that no function could use, or that all libraries use.

    Raises:
        DefinitionError: It is none, or one of Python's own.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise DefinitionError(
            f"{name!r} is no name that a function could use", remedy="export it under another one"
        )
    if hasattr(builtins, name) or name.startswith("__"):
        raise DefinitionError(
            f"{name} is a name of Python's own", remedy="export it under another one"
        )


def _path(name: str, work_dir: Path) -> Path:
    return work_dir / Path(name).expanduser()


def _stored(store: ObjectStore, path: Path) -> str | None:
    try:
        return store.put_file(path)
    except OSError:
        return None  # told by the agents, as the jobs' error


def _run(path: Path, names: dict[str, Any]) -> None:
    run_source(str(path), path.read_bytes(), names)


def _trying(what: str, action: Callable[..., Any], *args: Any) -> None:
    try:
        action(*args)
    except Exception as error:  # noqa: BLE001 - a user's file may raise anything
        warn(f"{what}: {type(error).__name__}: {error}")
