"""Provide what the functions of a registry find without naming where it comes from.

Packages are imported, then source files are run, then exported objects unpickled, as batchtools
does it. What comes of it is found as Python's builtins are: by every function, whatever module it
lives in, that has no global of that name itself. A name of Python's own is never replaced: for all
libraries would see it. Functions that came by value (those of a script, lambdas) see an export
even where they brought a global of that name along.
"""

from __future__ import annotations

import builtins
import functools
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any

from batchpilot_agent.callables import Wrapping
from batchpilot_agent.errors import ImportFailed
from batchpilot_agent.manifest import Dependencies
from batchpilot_agent.objects import ObjectStore

from .finder import remember_lines


MODULE = "batchpilot_source"
"""`__name__` in source files: none that can be imported, so what they define goes by value."""


def provide(store: ObjectStore, dependencies: Dependencies) -> dict[str, Any]:
    """Make packages, sources and exports available in this process; return the exports.

    Raises:
        ObjectMissing: An object is not there.
        ObjectForged: An object is damaged.
        ImportFailed: A source file was not there when the jobs were submitted; or a package, a
            source or an export fails, and `__cause__` is the user's error.
    """
    # All of it is read, and compared with its hash, before anything of it runs.
    sources = [(path, _read(store, path, name)) for path, name in dependencies.sources]
    pickles = [(name, store.get(value)) for name, value in dependencies.exports]
    for package in dependencies.packages:
        _trying(f"package {package} cannot be imported", import_module, package)
    names = new_namespace()
    for path, source in sources:
        _trying(f"source file {path} fails", run_source, path, source, names)
    exports = {
        name: _trying(f"export {name} cannot be unpickled", pickle.loads, data)
        for name, data in pickles
    }
    names.update(exports)
    for name, value in defined(names).items():
        if not hasattr(builtins, name):
            setattr(builtins, name, value)
    return exports


def overrule(function: Callable[..., Any], exports: Mapping[str, Any]) -> None:
    """Let exports go before the globals that a function has brought along by value."""
    while isinstance(function, functools.partial | MethodType | Wrapping):
        function = function.__func__ if isinstance(function, MethodType) else function.func
    if not isinstance(function, FunctionType):
        return
    home = sys.modules.get(function.__module__ or "")
    if function.__globals__ is not getattr(home, "__dict__", None):
        function.__globals__.update(exports)


def new_namespace() -> dict[str, Any]:
    """Return the globals that the source files of a registry share."""
    return {"__name__": MODULE, "__builtins__": builtins}


def run_source(path: str, source: bytes, names: dict[str, Any]) -> None:
    """Run a source file; what it defines is added to the names."""
    remember_lines(path, source)
    names["__file__"] = path
    exec(compile(source, path, "exec"), names)  # noqa: S102 - a file of the user's, by its hash


def defined(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return what source files have defined or imported."""
    return {name: value for name, value in names.items() if not name.startswith("__")}


@contextmanager
def kept_builtins() -> Iterator[None]:
    """Take away at the end what was provided: for jobs run in the user's own process."""
    before = set(vars(builtins))
    try:
        yield
    finally:
        for name in vars(builtins).keys() - before:
            delattr(builtins, name)


def _read(store: ObjectStore, path: str, name: str | None) -> bytes:
    if name is None:
        raise ImportFailed(
            f"source file {path} could not be read when the jobs were submitted",
            remedy="make it readable there, then submit again",
        )
    return store.get(name)


def _trying(what: str, action: Callable[..., Any], *args: Any) -> Any:
    try:
        return action(*args)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ImportFailed(
            f"{what}: {type(error).__name__}: {error}",
            remedy="make it work there, then submit again",
        ) from error
