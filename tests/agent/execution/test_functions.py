"""Every kind of function runs in a slot as it would in the session."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not

from __future__ import annotations

import functools
import importlib
import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent


def top_level(x: int) -> int:
    return x + 1


class Model:
    """Is called in several ways."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def fit(self, x: int) -> int:
        """Be a method."""
        return self.factor * x

    def __call__(self, x: int) -> int:
        """Be a function."""
        return self.factor + x


def closure(step: int) -> Any:
    return lambda x: x + step


@pytest.mark.parametrize(
    ("fun", "result"),
    [
        pytest.param(top_level, 6, id="top-level"),
        pytest.param(lambda x: x * 2, 10, id="lambda"),
        pytest.param(closure(10), 15, id="closure"),
        pytest.param(Model(3).fit, 15, id="method"),
        pytest.param(Model(3), 8, id="instance"),
        pytest.param(functools.partial(pow, exp=2), 25, id="partial"),
        pytest.param(functools.partial(Model.fit, Model(2)), 10, id="partial of method"),
    ],
)
def test_a_function_runs(agent: Agent, fun: Any, result: int) -> None:
    names = ("base",) if getattr(fun, "func", None) is pow else ("x",)

    assert agent.value(fun, 5, names=names) == result


def test_positional_only_parameters_go_by_position(agent: Agent) -> None:
    def divide(a: float, /, b: float) -> float:
        return a / b

    slot = agent.slot(divide, ("b", "a"))
    slot.run([(2.0, 8.0)])

    assert agent.rows()[0].value == 4.0


def test_a_function_that_tells_no_signature_runs_by_position(agent: Agent) -> None:
    assert agent.value(math.hypot, 3.0, 4.0, names=("1", "2"), positional=("1", "2")) == 5.0


def test_parameters_go_by_name_whatever_their_order(agent: Agent) -> None:
    def minus(a: int, b: int, *, c: int = 0) -> int:
        return a - b - c

    slot = agent.slot(minus, ("c", "b", "a"))
    slot.run([(1, 2, 10)])

    assert agent.rows()[0].value == 7


@pytest.mark.parametrize(
    ("more_args", "result"),
    [
        pytest.param({"b": 20}, 21, id="by name"),
        pytest.param(([], {"b": 20}), 21, id="pair"),
        pytest.param(([5], {"b": 20}), 26, id="by position and name"),
    ],
)
def test_static_arguments_are_added(agent: Agent, more_args: Any, result: int) -> None:
    def add(*first: int, a: int = 0, b: int = 0) -> int:
        return sum(first) + a + b

    assert agent.value(add, 1, names=("a",), more_args=more_args) == result


def test_large_parameters_are_read_from_objects(agent: Agent) -> None:
    from batchpilot.store.params import ParsEncoder  # noqa: PLC0415 - loads numpy, for this test only

    [pars] = ParsEncoder(agent.store).encode([[b"x" * 200_000], [3]])
    slot = agent.slot(lambda data, n: (len(data), n), ("data", "n"))
    slot.run([pars, pars])

    assert [row.value for row in agent.rows()] == [(200_000, 3)] * 2


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory beside which a script stands, on the path of the session."""
    project = tmp_path / "project"
    (project / "study" / "deep").mkdir(parents=True)
    (project / "study" / "__init__.py").write_text("from .tools import triple\n")
    (project / "study" / "tools.py").write_text(
        "def triple(x):\n    return 3 * x\n\ndef fail(x):\n    raise ValueError(x)  # stored line\n"
    )
    (project / "study" / "deep" / "inner.py").write_text("WORD = 'inner'\n")
    (project / "study" / "data.txt").write_text("beside")
    (project / "late.py").write_text("WORD = 'late'\n")
    monkeypatch.syspath_prepend(str(project))
    yield project
    for name in [n for n in sys.modules if n.partition(".")[0] in ("study", "late")]:
        del sys.modules[name]


def test_a_package_beside_the_script_is_served_from_objects(agent: Agent, project: Path) -> None:
    study = importlib.import_module("study")
    importlib.import_module("study.deep.inner")
    epoch = agent.epoch(study.triple)
    (project / "study" / "tools.py").write_text("raise RuntimeError('edited')\n")
    template = agent.start(epoch)

    assert template.hear() == ["ready"]

    template.fork().run([(4,)])

    assert agent.rows()[0].value == 12


def test_modules_keep_their_place_and_their_neighbours(agent: Agent, project: Path) -> None:
    importlib.import_module("study.deep.inner")

    def look(x: str) -> tuple[str, str, str]:
        from importlib.resources import files  # noqa: PLC0415 - as in a job

        import study  # type: ignore[import-not-found]  # noqa: PLC0415 - made by the test
        import study.deep.inner  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

        return study.__file__, files(study).joinpath(x).read_text(), study.deep.inner.WORD

    place = str(project / "study" / "__init__.py")

    assert agent.value(look, "data.txt") == (place, "beside", "inner")


def test_a_module_never_imported_in_the_session_is_found_lazily(
    agent: Agent, project: Path
) -> None:
    assert "late" not in sys.modules

    def look(x: int) -> tuple[int, str]:
        import late  # type: ignore[import-not-found]  # noqa: PLC0415 - made by the test

        return x, late.WORD

    assert agent.value(look, 1) == (1, "late")


def test_a_traceback_shows_the_stored_lines(agent: Agent, project: Path) -> None:
    tools = importlib.import_module("study.tools")
    slot = agent.slot(tools.fail)
    (project / "study" / "tools.py").write_text("\n\n\n\n# another line\n")
    slot.run([(4,)])
    kind, message, traceback = agent.rows()[0].error

    assert (kind, message) == ("ValueError", "4")
    assert "raise ValueError(x)  # stored line" in traceback
    assert "batchpilot_agent" not in traceback


def test_functions_of_a_script_come_by_value_with_their_lines(agent: Agent, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from batchpilot.epochs import *
        from batchpilot_agent.objects import ObjectStore

        OFFSET = 100

        class Point:
            def __init__(self, x):
                self.x = x

        def shift(x):
            if x < 0:
                raise ValueError("negative")  # in the script
            return Point(x + OFFSET).x

        store = ObjectStore(Path({str(agent.paths.objects)!r}))
        definition = Definition(function=store.put(pickle_function(shift)), names=("x",))
        print(store_epoch(store, definition, work_dir={str(agent.work_dir)!r}))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    script.write_text("")
    template = agent.start(done.stdout.strip())

    assert template.hear() == ["ready"]

    template.fork().run([(1,), (-1,)])
    good, bad = agent.rows()

    assert good.value == 101
    assert 'raise ValueError("negative")  # in the script' in bad.error[2]
