"""Show the code of an epoch: the source of its modules, and in it that of the jobs' function.

Nothing is imported: what is shown is what was stored with the submission, whatever the files hold
by now.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import decode_source

from batchpilot_agent.manifest import Manifest
from batchpilot_agent.objects import ObjectStore

from .pickled import ByReference, ByValue, Reference, function_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """Hold a module of an epoch.

    Attributes:
        name: Its full name.
        origin: Its file when it was stored.
        source: Its source; None where it has none (extension, namespace package).
    """

    name: str
    origin: str
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Hold the function of an epoch.

    Attributes:
        name: Its qualified name.
        module: Module that it is in, "" where that is unknown.
        origin: File that it was defined in, "" where that is unknown.
        line: Its first line there, 0 where that is unknown.
        source: Its source; None where that is no part of the epoch.
    """

    name: str
    module: str = ""
    origin: str = ""
    line: int = 0
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Hold the code of a submission.

    Attributes:
        epoch: Hash of its manifest.
        python: Minor version of Python.
        function: What the jobs call, of experiments the algorithm's function; None where its
            pickle does not tell, or there is none.
        problem: What makes the instances of experiments, else None.
        modules: All that was loaded outside the standard library and installed libraries, then
            the source files that are run before the jobs, named by their paths.
    """

    epoch: str
    python: str
    function: Function | None
    problem: Function | None
    modules: tuple[Module, ...]


def read_code(store: ObjectStore, epoch: str, problem: str = "", algorithm: str = "") -> Code:
    """Return the code of an epoch.

    Args:
        store: The registry's objects.
        epoch: The epoch.
        problem: Of experiments the problem whose function is meant.
        algorithm: And the algorithm.

    Raises:
        ObjectMissing: An object is not there.
        ObjectForged: An object is damaged.
        EpochError: The manifest cannot be read.
    """
    manifest = Manifest.from_bytes(store.get(epoch))
    stored = [(module.name, module.origin, module.source) for module in manifest.modules]
    stored += [
        (source.path, source.path, source.source) for source in manifest.dependencies.sources
    ]
    modules = tuple(
        Module(name=name, origin=origin, source=None if text is None else _text(store.get(text)))
        for name, origin, text in stored
    )

    def found(pickled: str | None) -> Function | None:
        reference = function_in(store.get(pickled)) if pickled else None
        return None if reference is None else _found(reference, modules)

    problems = {part.name: part.function for part in manifest.problems}
    algorithms = {part.name: part.function for part in manifest.algorithms}
    return Code(
        epoch=epoch,
        python=manifest.python,
        function=found(algorithms.get(algorithm) if algorithm else manifest.function),
        problem=found(problems.get(problem)),
        modules=modules,
    )


def _text(source: bytes) -> str:
    try:
        return decode_source(source)
    except (SyntaxError, UnicodeDecodeError):
        return source.decode(errors="replace")


def _found(reference: Reference, modules: Iterable[Module]) -> Function:
    match reference:
        case ByReference(module=module, name=name):
            return _by_name(name, module, {entry.name: entry for entry in modules})
        case ByValue(name=name, file=file, line=line):
            origins = {entry.origin: entry for entry in modules if entry.source is not None}
            return _by_line(Function(name=name, origin=file, line=line), origins)


def _by_line(function: Function, origins: Mapping[str, Module]) -> Function:
    """Return a function that went by value, its source taken from the file it was compiled from."""
    module = origins.get(function.origin)
    if module is None or module.source is None:
        return function
    lines = module.source.splitlines(keepends=True)[function.line - 1 :]
    return Function(
        name=function.name,
        module=module.name,
        origin=function.origin,
        line=function.line,
        source=textwrap.dedent("".join(_block(lines))) if lines else None,
    )


def _block(lines: list[str]) -> list[str]:
    try:
        return inspect.getblock(lines)
    except (SyntaxError, tokenize.TokenError):
        return lines[:1]  # a lambda amid the lines of a call


def _by_name(name: str, module: str, modules: Mapping[str, Module]) -> Function:
    """Return a function that is imported, its source taken from its module as it was stored."""
    entry = modules.get(module)
    if entry is None or entry.source is None:
        return Function(name=name, module=module, origin=entry.origin if entry else "")
    node = _definition(entry.source, name.split("."))
    if node is None:
        return Function(name=name, module=module, origin=entry.origin)
    first = min([node.lineno, *(line.lineno for line in getattr(node, "decorator_list", ()))])
    lines = entry.source.splitlines(keepends=True)[first - 1 : node.end_lineno]
    return Function(
        name=name,
        module=module,
        origin=entry.origin,
        line=first,
        source=textwrap.dedent("".join(lines)),
    )


def _definition(source: str, path: list[str]) -> ast.stmt | None:
    """Return the statement that defines a name; the last one, where there are several."""
    try:
        body: list[ast.stmt] = ast.parse(source).body
    except SyntaxError:
        return None
    found: ast.stmt | None = None
    for name in path:
        found = next((node for node in _statements(body) if _defines(node, name)), None)
        body = getattr(found, "body", [])
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements from the last to the first, those below `if` and `try` too."""
    for node in reversed(body):
        yield node
        for block in ("finalbody", "orelse", "handlers", "body"):
            inner = [] if _is_scope(node) else getattr(node, block, [])
            for part in reversed(inner):
                yield from _statements(part.body if isinstance(part, ast.ExceptHandler) else [part])


def _is_scope(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    return _is_scope(node) and getattr(node, "name", "") == name
