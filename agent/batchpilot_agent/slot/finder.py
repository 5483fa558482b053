"""Import a study's own modules from its objects: edited files never change queued jobs.

`EpochFinder` stands first on `sys.meta_path` and serves the modules of one manifest. A module
keeps the file name it had in the session, so that `__file__`, data files beside it and tracebacks
look the same; the lines in tracebacks are the stored ones. A submodule that is not in the
manifest (imported lazily, never loaded in the session) is found by Python's own finders, through
its package's `__path__` or the manifest's `path`.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from batchpilot_agent.manifest import StoredModule
from batchpilot_agent.objects import ObjectStore


OWN_PACKAGES = frozenset(("batchpilot", "batchpilot_agent", "batchpilot_broker"))
"""Never served: the agent runs its own batchpilot."""


_MAIN = "__main__"


class EpochFinder:
    """Find the modules of a manifest.

    Args:
        store: Where their sources are; all are read, and compared with their hashes, here.
        modules: The manifest's modules.
    """

    def __init__(self, store: ObjectStore, modules: Iterable[StoredModule]) -> None:
        self._modules = {
            module.name: module
            for module in modules
            if module.name.partition(".")[0] not in OWN_PACKAGES
        }
        self._sources = {
            module.name: store.get(module.source)
            for module in self._modules.values()
            if module.source is not None
        }
        self._parents = {
            parent for name in self._modules for parent in _parents(name)
        } - self._modules.keys()

    def install(self) -> None:
        """Stand first among the finders."""
        sys.meta_path.insert(0, self)

    def remember_main(self) -> None:
        """Let tracebacks show the lines of script and notebook, whose functions came by value."""
        cells = [name for name, module in self._modules.items() if name == module.origin]
        for name in (_MAIN, *cells):
            module = self._modules.pop(name, None)
            if module is not None and name in self._sources:
                remember_lines(module.origin, self._sources.pop(name))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the manifest, None for others."""
        module = self._modules.get(fullname)
        if module is not None:
            return self._spec(module)
        if fullname in self._parents:
            return self._elsewhere(fullname, path, target) or _package_spec(fullname, [])
        return None

    def _elsewhere(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def _spec(self, module: StoredModule) -> ModuleSpec | None:
        loader = self._loader(module)
        if loader is None:
            places = [place for place in module.origin.split(os.pathsep) if place]
            return _package_spec(module.name, places) if module.is_package else None
        spec = ModuleSpec(module.name, loader, origin=module.origin, is_package=module.is_package)
        spec.has_location = True
        if module.is_package:
            spec.submodule_search_locations = [str(Path(module.origin).parent)]
        return spec

    def _loader(
        self, module: StoredModule
    ) -> SourceFileLoader | ExtensionFileLoader | SourcelessFileLoader | None:
        if module.source is not None:
            return StoredSourceLoader(module, self._sources[module.name])
        if module.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            return ExtensionFileLoader(module.name, module.origin)
        if module.origin.endswith(".pyc"):
            return SourcelessFileLoader(module.name, module.origin)
        return None


class StoredSourceLoader(SourceFileLoader):
    """Load a module from stored source, as if it stood in its file."""

    def __init__(self, module: StoredModule, source: bytes) -> None:
        super().__init__(module.name, module.origin)
        self._stored = module
        self._source = source

    def get_data(self, path: str) -> bytes:
        """Return the stored source; other files of the package come from the disk."""
        return self._source if path == self.path else super().get_data(path)

    def path_stats(self, path: str) -> dict[str, int]:
        """Refuse: compiled files on the disk belong to the file, which may have been edited."""
        raise OSError(f"{path} is served from an object")

    def is_package(self, fullname: str) -> bool:
        """Tell what the module was in the session."""
        del fullname
        return self._stored.is_package

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, its lines ready for tracebacks."""
        remember_lines(self.path, self._source)
        super().exec_module(module)


def remember_lines(origin: str, source: bytes) -> None:
    """Let tracebacks show these lines for a file, whatever it holds by now."""
    try:
        text = decode_source(source)
    except (SyntaxError, UnicodeDecodeError):
        return  # compiling it says what is wrong
    # Without a time of change linecache never looks at the file again.
    linecache.cache[origin] = (len(source), None, text.splitlines(keepends=True), origin)


def _package_spec(name: str, places: list[str]) -> ModuleSpec:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = places
    return spec


def _parents(name: str) -> Iterable[str]:
    parts = name.split(".")[:-1]
    return (".".join(parts[: i + 1]) for i in range(len(parts)))
