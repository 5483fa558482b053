"""Commands called in this process, and their documents, checked against docs/cli.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from batchpilot import control, pools
from batchpilot.cli import main
from batchpilot.registry.whole import Registry, make_registry


PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
SCHEMAS = {
    name: json.loads(text)
    for name, text in re.findall(
        r"^### `([^`]+)`\n(?:(?!###)[^\0])*?```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL
    )
}

Call = Callable[..., tuple[int, str, str]]
Document = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Give a function that runs a command and returns exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def document(call: Call) -> Document:
    """Give a function that returns what a command writes with --json, as its schema has it."""

    def read(name: str, *words: object, code: int = 0) -> dict[str, Any]:
        ended, out, err = call(*words, "--json")
        assert (ended, err) == (code, "")
        found: dict[str, Any] = json.loads(out)
        Draft202012Validator.check_schema(SCHEMAS[name])
        Draft202012Validator(SCHEMAS[name]).validate(found)
        assert set(found) == set(SCHEMAS[name]["properties"])
        return found

    return read


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry with two local slots; what it starts ends with the test."""
    with make_registry(tmp_path / "registry", seed=1) as made:
        made.pools = pools.Local(slots=2)
        yield made
        control.stop(made.paths)
