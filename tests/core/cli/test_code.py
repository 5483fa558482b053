"""`jobs --code` and `get_code`: the code that a job was submitted with, whatever files hold now."""

from __future__ import annotations

import importlib
import linecache
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from batchpilot import pools
from batchpilot.errors import CodeMissing
from batchpilot.registry.whole import Registry, load_registry, make_registry

from .conftest import Call, Document


MODEL = '''\
"""A model."""

import functools


def twice(function):
    @functools.wraps(function)
    def wrapper(x):
        return 2 * function(x)

    return wrapper


if True:

    @twice
    def fit(x):
        """Fit."""
        return x + 1


class Model:
    def predict(self, x):
        return x


predict = Model().predict
'''
FIT = '''\
@twice
def fit(x):
    """Fit."""
    return x + 1
'''


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a module of the user's own."""
    (tmp_path / "my_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_model")
    del sys.modules["my_model"]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Registry]:
    with make_registry(tmp_path / "study", seed=1, work_dir=tmp_path) as registry:
        registry.pools = pools.Interactive()
        yield registry


def run_script(directory: Path, text: str) -> None:
    (directory / "script.py").write_text(dedent(text))
    roots = [str(Path(__file__).parents[3] / name) for name in ("core", "agent", "broker")]
    subprocess.run(
        [sys.executable, "script.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        check=True,
    )


def test_each_job_keeps_the_code_of_its_submission(
    study: Registry, model: Any, tmp_path: Path, call: Call
) -> None:
    study.batch_map(model.fit, x=[1, 2, 3])
    study.submit_jobs(1)
    edited = MODEL.replace("x + 1", "x + 100")
    (tmp_path / "my_model.py").write_text(edited)
    study.submit_jobs(2)
    (tmp_path / "my_model.py").unlink()

    assert study.get_code(1)["my_model"] == MODEL
    assert study.get_code(2)["my_model"] == edited
    assert f"\n{FIT}# Modules stored with it: " in call("jobs", study.file_dir, "--code", 1)[1]
    assert "return x + 100" in call("jobs", study.file_dir, "--code", 2)[1]
    shown = call("jobs", study.file_dir, "--code", 1, "--module", "my_model")
    assert shown == (0, MODEL, "")


def test_the_document_has_function_and_modules(
    study: Registry, model: Any, tmp_path: Path, document: Document
) -> None:
    study.batch_map(model.fit, x=[1])
    study.submit_jobs()

    code = document("jobs --code", "jobs", study.file_dir, "--code", 1)
    one = document("jobs --code", "jobs", study.file_dir, "--code", 1, "--module", "my_model")

    assert code["function"] == {
        "name": "fit",
        "module": "my_model",
        "origin": str(tmp_path / "my_model.py"),
        "line": 16,
        "source": FIT,
    }
    assert "my_model" in [module["name"] for module in code["modules"]]
    assert [module["source"] for module in one["modules"]] == [MODEL]


def test_a_method_is_found_in_its_class(study: Registry, model: Any, call: Call) -> None:
    study.batch_map(model.predict, x=[1])
    study.submit_jobs()

    shown = call("jobs", study.file_dir, "--code", 1)[1]

    assert "# Function Model.predict, " in shown
    assert "\ndef predict(self, x):\n    return x\n" in shown


def test_functions_of_a_script_are_found_in_it(tmp_path: Path, call: Call) -> None:
    run_script(
        tmp_path,
        """
        import batchpilot as bp

        def local(i):
            return i

        if __name__ == "__main__":
            for name, function in (("named", local), ("lambda", lambda i: (
                i * 2
            ))):
                with bp.make_registry(name, seed=1) as reg:
                    reg.pools = bp.pools.Interactive()
                    reg.batch_map(function, i=[1])
                    reg.submit_jobs()
        """,
    )

    named = call("jobs", tmp_path / "named", "--code", 1)[1]
    anonymous = call("jobs", tmp_path / "lambda", "--code", 1)[1]

    assert f"# Function local, {tmp_path / 'script.py'}:4\ndef local(i):\n    return i\n" in named
    assert "# Function <lambda>, " in anonymous
    assert "lambda i: (" in anonymous
    assert "#   __main__  " in anonymous


def test_cells_of_a_notebook_are_kept(study: Registry, call: Call) -> None:
    cell = "def square(x):\n    return x * x\n"
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(cell, "<cell-7>", "exec"), names)  # noqa: S102 - as a notebook does
    linecache.cache["<cell-7>"] = (len(cell), None, cell.splitlines(keepends=True), "<cell-7>")
    study.batch_map(names["square"], x=[1, 2])
    study.submit_jobs(1)
    del linecache.cache["<cell-7>"]
    study.submit_jobs(2)

    for job in (1, 2):
        assert study.get_code(job)["<cell-7>"] == cell
        assert (
            f"# Function square, <cell-7>:1\n{cell}"
            in call("jobs", study.file_dir, "--code", job)[1]
        )


def test_a_function_of_a_library_is_named(study: Registry, document: Document) -> None:
    study.batch_map(divmod, args={"x": [7], "y": [2]})

    study.submit_jobs()
    function = document("jobs --code", "jobs", study.file_dir, "--code", 1)["function"]

    assert (function["module"], function["name"]) == ("builtins", "divmod")
    assert function["source"] is None


def test_source_files_are_shown_too(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("LIMIT = 3\n")
    with make_registry(
        tmp_path / "study", seed=1, work_dir=tmp_path, source="setup.py"
    ) as registry:
        registry.pools = pools.Interactive()
        registry.batch_map(abs, args={"x": [1]})
        registry.submit_jobs()

        assert registry.get_code(1)[str(tmp_path / "setup.py")] == "LIMIT = 3\n"


def test_a_job_that_is_not_submitted_has_no_code(study: Registry, model: Any, call: Call) -> None:
    study.batch_map(model.fit, x=[1, 2])
    study.submit_jobs(1)

    with pytest.raises(CodeMissing, match="job 2: it is not submitted; submit it"):
        study.get_code(2)
    code, out, err = call("jobs", study.file_dir, "--code", 2)
    assert (code, out) == (3, "")
    assert "Remedy: submit it" in err


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--code", 99], 3), (["--code", 1, "--module", "none"], 3), (["--module", "my_model"], 2)],
    ids=str,
)
def test_what_is_not_there_has_its_exit_code(
    study: Registry, model: Any, words: list[object], code: int, call: Call
) -> None:
    study.batch_map(model.fit, x=[1])
    study.submit_jobs()

    ended, out, err = call("jobs", study.file_dir, *words)

    assert (ended, out) == (code, "")
    assert "Error: " in err


def test_reading_the_code_runs_none_of_it(study: Registry, model: Any, tmp_path: Path) -> None:
    study.batch_map(model.fit, x=[1])
    study.submit_jobs()
    (tmp_path / "my_model.py").write_text("raise SystemExit('imported')")
    imported = set(sys.modules)

    with load_registry(study.file_dir, writeable=False) as reader:
        assert reader.get_code(1)["my_model"] == MODEL
    assert set(sys.modules) == imported
