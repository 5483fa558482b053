"""What a pickle tells of its function, while nothing of it is imported or run."""

from __future__ import annotations

import functools
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import pytest

from batchpilot.pickled import ByReference, ByValue, files_in, function_in


def by_value(function: Callable[..., Any]) -> ByValue:
    code = function.__code__
    return ByValue(name=code.co_qualname, file=code.co_filename, line=code.co_firstlineno)


def loud(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def local_functions() -> dict[str, Any]:
    grid = np.arange(5)

    def plain(x: int) -> Any:
        return grid + len(json.dumps(x))

    @loud
    def decorated(x: int) -> int:
        return x

    return {"plain": plain, "decorated": decorated}


@pytest.mark.parametrize(
    ("function", "module", "name"),
    [
        (json.dumps, "json", "dumps"),
        (math.sqrt, "math", "sqrt"),
        (functools.partial(json.dumps, indent=1), "json", "dumps"),
        (json.JSONEncoder().encode, "json.encoder", "JSONEncoder.encode"),
        (np.random.default_rng(1).normal, "numpy.random._generator", "Generator.normal"),
        (np.sin, "numpy", "sin"),
    ],
)
def test_a_function_of_a_module_is_known_by_its_name(function: Any, module: str, name: str) -> None:
    pickled = cloudpickle.dumps(function)

    assert function_in(pickled) == ByReference(module=module, name=name)


def test_a_function_that_goes_by_value_is_known_by_its_place() -> None:
    plain = local_functions()["plain"]
    bound = functools.partial(plain, 3)

    assert function_in(cloudpickle.dumps(plain)) == by_value(plain)
    assert function_in(cloudpickle.dumps(bound)) == by_value(plain)


def test_of_a_decorated_function_the_users_own_is_meant() -> None:
    decorated = local_functions()["decorated"]

    assert function_in(cloudpickle.dumps(decorated)) == by_value(decorated.__wrapped__)


def test_a_class_that_goes_by_value_is_known_by_its_name() -> None:
    @dataclass
    class Model:
        x: int

        def __call__(self, y: int) -> int:
            return self.x + y

        def fit(self) -> int:
            return self.x

    model = Model(2)

    assert function_in(cloudpickle.dumps(model)) == ByReference(module=__name__, name="Model")
    assert function_in(cloudpickle.dumps(model.fit)) == by_value(Model.fit)


def test_nothing_is_imported_or_run() -> None:
    pickled = pickle.dumps(json.dumps).replace(b"json", b"gone")

    assert function_in(pickled) == ByReference(module="gone", name="dumps")
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(pickled)  # noqa: S301 - the counter-check


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps([1, "two"])])
def test_what_holds_no_function_gives_none(data: bytes) -> None:
    assert function_in(data) is None
    assert files_in(data) == set()


def test_all_files_of_functions_by_value_are_found() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def helper(x): return x", "<cell-1>", "exec"), names)  # noqa: S102 - as a notebook does
    exec(compile("def f(x): return helper(x)", "<cell-2>", "exec"), names)  # noqa: S102 - as above

    assert files_in(cloudpickle.dumps(names["f"])) == {"<cell-1>", "<cell-2>"}
    assert function_in(cloudpickle.dumps(names["f"])) == ByValue(name="f", file="<cell-2>", line=1)
