"""See which function a pickle holds, without importing or running anything of it.

A function goes either by reference (module and name) or by value (cloudpickle's code object). The
pickle is read with a stand-in for everything it names; what remains is the outline of how the
function is put together.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


_CODE_NAME, _CODE_QUALNAME, _CODE_FILE, _CODE_LINE = 11, 12, 10, 13
"""Places of these in what a code object is pickled as, Python 3.11 and later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByReference:
    """Hold that a function is imported where it is called.

    Attributes:
        module: Its module.
        name: Its qualified name there.
    """

    module: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByValue:
    """Hold that a function goes with its code.

    Attributes:
        name: Its qualified name.
        file: File that it was compiled from.
        line: Its first line there.
    """

    name: str
    file: str
    line: int


Reference = ByReference | ByValue


def function_in(pickled: bytes) -> Reference | None:
    """Return which function a pickle holds, None where that cannot be seen.

    Of a partial or a method it is the function called; of a decorated one the user's own.

    Example:
        >>> function_in(pickle.dumps(len))
        ByReference(module='builtins', name='len')
    """
    try:
        outline = _Outliner(io.BytesIO(pickled)).load()
        return next(_functions(outline, set()), None)
    except Exception:  # noqa: BLE001 - a pickle may hold what has no stand-in
        return None


def files_in(pickled: bytes) -> set[str]:
    """Return the files from which all functions that go by value in a pickle were compiled.

    Example:
        >>> files_in(pickle.dumps(len))
        set()
    """
    try:
        outline = _Outliner(io.BytesIO(pickled)).load()
    except Exception:  # noqa: BLE001 - as above
        return set()
    return {found.file for found in _functions(outline, set()) if isinstance(found, ByValue)}


class _Part:
    """Stand in for whatever a pickle names or makes; subclasses stand for globals and classes."""

    module = name = ""
    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **_: Any) -> Any:
        if cls.name == "_make_skeleton_class":  # a class that goes by value
            return _stand_in(str(args[3].get("__module__", "")), str(args[1]))
        part = object.__new__(cls)
        part.args = args
        if cls.name in ("_function_setstate", "_class_setstate"):
            args[0].state = args[1]
        return part

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take what the real thing is made with; `__new__` has kept it."""

    def __call__(self, *args: Any, **_: Any) -> _Part:
        part: _Part = _Part(*args)
        return part

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _: Any, __: Any) -> None:
        """Take an item of a kind of dict."""

    def append(self, _: Any) -> None:
        """Take an item of a kind of list."""

    add = extend = append


def _stand_in(module: str, name: str) -> type[_Part]:
    return type("_Part", (_Part,), {"module": module, "name": name})


class _Outliner(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Part]:
        return _stand_in(module, name)


def _functions(part: Any, seen: set[int]) -> Iterator[Reference]:
    """Yield the functions of an outline, the one that is called first."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, _Part) and part.name == "_make_function":
        yield from _functions(_wrapped(part), seen)
        yield _by_value(part)
    elif isinstance(part, type) and issubclass(part, _Part):
        yield ByReference(module=part.module, name=part.name)
    elif isinstance(part, _Part) and part.name and not _is_plumbing(part):
        yield ByReference(module=part.module, name=part.name)  # an instance that is called
    for each in _inner(part):
        yield from _functions(each, seen)


def _inner(part: Any) -> Iterable[Any]:
    """Return what a part is made of."""
    match part:
        case _Part():
            return (*part.args, part.state)
        case tuple() | list():
            return part
        case dict():
            return part.values()
        case _:
            return ()


def _is_plumbing(part: _Part) -> bool:
    """Tell whether a call only puts together what it is given: partial, a bound method, ours."""
    return part.module in ("functools", "builtins", "types", "copyreg", "operator") or (
        part.module.partition(".")[0] in ("cloudpickle", "batchpilot_agent")
    )


def _wrapped(function: _Part) -> Any:
    """Return what a decorator has wrapped, as `functools.wraps` notes it."""
    attributes = function.state[0] if isinstance(function.state, tuple) else None
    return attributes.get("__wrapped__") if isinstance(attributes, dict) else None


def _by_value(function: _Part) -> ByValue:
    code = function.args[0].args
    return ByValue(name=code[_CODE_QUALNAME], file=code[_CODE_FILE], line=code[_CODE_LINE])
