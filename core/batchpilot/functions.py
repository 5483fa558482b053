"""What can be known of a user's function before it runs: its parameters, and whether it can go."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter
from itertools import islice
from types import CodeType, FunctionType, MethodType
from typing import Any

import cloudpickle

from batchpilot.errors import DefinitionError
from batchpilot_agent.errors import CannotPickle
from batchpilot_agent.failures import message_of


JOB = "job"
_DEEPEST = 8
_MOST_ITEMS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Hold what a function can be called with.

    Attributes:
        name: What the function is called.
        names: Its parameters in order, `job` among them.
        positional: Those of them that go by position only.
        required: Those of them that have no default.
        any_name: Whether it takes any name (**kwargs), or does not say what it takes.
        passes_job: Whether it names a parameter `job`.
    """

    name: str
    names: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    any_name: bool = False
    passes_job: bool = False

    def accepts(self, name: str) -> bool:
        """Tell whether the function takes a parameter of this name."""
        return self.any_name or name in self.names


def describe_function(fun: Callable[..., Any]) -> Parameters:
    """Return what a function can be called with; some written in C do not say."""
    try:
        signature = inspect.signature(fun)
    except (ValueError, TypeError):
        return Parameters(name=_name(fun), any_name=True)
    parameters = signature.parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Parameters(
        name=_name(fun),
        names=tuple(p.name for p in named),
        positional=tuple(p.name for p in named if p.kind is p.POSITIONAL_ONLY),
        required=tuple(p.name for p in named if p.default is p.empty),
        any_name=any(p.kind is p.VAR_KEYWORD for p in parameters),
        passes_job=any(p.name == JOB and p.kind is not p.POSITIONAL_ONLY for p in named),
    )


def first_parameter(fun: Callable[..., Any]) -> str | None:
    """Return the name of what a function takes first by position; None where it has none."""
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (ValueError, TypeError):
        return None
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return next((p.name for p in parameters if p.kind in by_position), None)


def check_more_args(more_args: Any) -> Mapping[str, Any]:
    """Return the values that are the same for all jobs, none where None is given.

    Raises:
        DefinitionError: They are not given by name.
    """
    if more_args is not None and not isinstance(more_args, Mapping):
        raise DefinitionError(
            f"more_args cannot be a {type(more_args).__name__}: give values by name in a dict",
            remedy="for a vector called more_args, pass args={'more_args': ...}",
        )
    return more_args or {}


def check_call(fun: Any, values: int, names: Iterable[str]) -> Parameters:
    """Return what a function can be called with; refuse one that cannot be called as is meant.

    Args:
        fun: The function.
        values: How many values it is given by position, before anything else.
        names: What it is given by name; the Job too, where it has a parameter `job` left.

    Raises:
        DefinitionError: It is no function, or it cannot be called so.
    """
    if not callable(fun):
        raise DefinitionError(f"{fun!r:.40} is no function", remedy="give a function as `fun`")
    shape = describe_function(fun)
    shape = replace(shape, passes_job=shape.passes_job and JOB not in shape.names[:values])
    given = dict.fromkeys([*names, *([JOB] if shape.passes_job else [])])
    try:
        inspect.signature(fun).bind(*[None] * values, **given)
    except TypeError as error:
        raise DefinitionError(
            f"{shape.name}() cannot be called with {values} value(s) by position"
            f"{' and ' + ', '.join(given) if given else ''}: {error}",
            remedy=f"its parameters are {', '.join(shape.names) or '(none)'}",
        ) from error
    except ValueError:
        return shape  # written in C, it does not say
    return shape


def pickle_function(fun: Any) -> bytes:
    """Return the pickle of a function, or of a dict of static arguments.

    Raises:
        CannotPickle: It cannot be sent; the message names the part that holds it back.
    """
    return pickle_value(fun, f"function {_name(fun)}" if callable(fun) else "a static value")


def pickle_value(value: Any, what: str) -> bytes:
    """Return a value's pickle.

    Args:
        value: The value.
        what: What to call it in an error.

    Raises:
        CannotPickle: It cannot be sent; the message names the part that holds it back.
    """
    try:
        data: bytes = cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        path, culprit = _culprit("", value, set())
        part = f"its part `{path}` of type {type(culprit).__qualname__}: " if path else ""
        raise CannotPickle(
            f"{what} cannot be pickled: {part}{message_of(error)}",
            remedy="make that object inside the function instead of passing it",
            path=path,
        ) from error
    return data


def _name(fun: object) -> str:
    return getattr(fun, "__qualname__", None) or type(fun).__qualname__


def _culprit(path: str, value: object, seen: set[int]) -> tuple[str, object]:
    """Return the innermost part of a value that cannot be pickled."""
    seen.add(id(value))
    if len(seen) < _MOST_ITEMS and path.count(".") < _DEEPEST:
        for name, part in islice(_parts(value), _MOST_ITEMS):
            if id(part) not in seen and not _can_pickle(part):
                separator = "." if path and not name.startswith("[") else ""
                return _culprit(f"{path}{separator}{name}", part, seen)
    return path, value


def _can_pickle(value: object) -> bool:
    try:
        cloudpickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return False
    return True


def _parts(value: object) -> Iterator[tuple[str, object]]:
    match value:
        case FunctionType():
            yield from _parts_of_function(value)
        case MethodType():
            yield "self", value.__self__
        case functools.partial():
            yield "func", value.func
            yield from ((f"args[{i}]", part) for i, part in enumerate(value.args))
            yield from value.keywords.items()
        case dict():
            yield from ((f"[{key!r}]", part) for key, part in value.items())
        case list() | tuple() | set() | frozenset():
            yield from ((f"[{i}]", part) for i, part in enumerate(value))
        case _:
            yield from getattr(value, "__dict__", {}).items()


def _parts_of_function(fun: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield what a function carries along: its closure, its defaults, the globals it names."""
    for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not yet assigned
    yield from ((f"default {i}", part) for i, part in enumerate(fun.__defaults__ or ()))
    yield from (fun.__kwdefaults__ or {}).items()
    for name in sorted(_names(fun.__code__)):
        if name in fun.__globals__:
            yield name, fun.__globals__[name]


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
