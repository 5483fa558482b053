"""The lists of README.md are complete, and the tests they name are there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest


TESTS = Path(__file__).parents[1]
HERE = Path(__file__).parent
PAGE = (HERE / "README.md").read_text(encoding="utf-8")
GOLDEN = {
    path.name: set(json.loads(path.read_text(encoding="utf-8"))) - {"_meta"}
    for path in sorted((TESTS / "golden").glob("g*.json"))
}
THEIR_FILES = [
    "Algorithm",
    "ClusterFunctions",
    "ClusterFunctionsMulticore",
    "ClusterFunctionsSocket",
    "ExperimentRegistry",
    "Job",
    "JobCollection",
    "JobNames",
    "Problem",
    "Registry",
    "addExperiments",
    "batchMap",
    "batchReduce",
    "btlapply",
    "chunk",
    "convertIds",
    "count",
    "doJobCollection",
    "estimateRuntimes",
    "export",
    "findConfFile",
    "findJobs",
    "foreach",
    "getErrorMessages",
    "getJobTable",
    "getStatus",
    "grepLogs",
    "hooks",
    "joins",
    "killJobs",
    "memory",
    "mergeRegistries",
    "reduceResults",
    "removeExperiments",
    "removeRegistry",
    "resetJobs",
    "runOSCommand",
    "seed",
    "showLog",
    "sleep",
    "submitJobs",
    "summarizeExperiments",
    "sweepRegistry",
    "tags",
    "testJob",
    "unwrap",
    "waitForJobs",
]
"""The files of the original's tests/testthat; findExperiments is tested in findJobs."""
NOT_OURS = "does not apply: "


def rows(heading: str) -> Iterator[list[str]]:
    """Yield the cells of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| file |"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


LINES = list(rows("What the original's tests assert"))
VALUES = list(rows("Values the original computed"))


@cache
def functions(file: str) -> frozenset[str]:
    """Return the names of the tests in a file below tests/."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def named_tests(cell: str) -> list[tuple[str, str]]:
    return re.findall(r"`([\w/]+\.py)::(\w+)`", cell)


def test_every_file_of_the_originals_tests_is_gone_through() -> None:
    told = [file.strip("`") for file, *_ in LINES]

    assert set(told) == {"helper", *THEIR_FILES}


@pytest.mark.parametrize("file", GOLDEN)
def test_every_golden_entry_stands_in_one_row(file: str) -> None:
    told = [
        entry
        for name, entries, _ in VALUES
        if name.strip("`") == file
        for entry in re.findall(r"`([^`]+)`", entries)
    ]

    assert sorted(told) == sorted(set(told))
    assert set(told) == GOLDEN[file]


@pytest.mark.parametrize("row", [*LINES, *VALUES], ids=lambda row: f"{row[0]} {row[1]:.40}")
def test_each_row_names_tests_that_are_there_or_says_why_there_is_none(row: list[str]) -> None:
    *_, where = row
    tests = named_tests(where)
    lacking = [f"{file}::{name}" for file, name in tests if name not in functions(file)]

    assert lacking == []
    assert tests or (where.startswith(NOT_OURS) and len(where) > len(NOT_OURS) + 10)


def test_entries_that_are_said_to_be_tested_are_named_in_the_tests() -> None:
    """A value that no test file reads by its name is not tested by it."""
    unread = [
        entry
        for _, entries, where in VALUES
        for entry in re.findall(r"`([^`]+)`", entries)
        if named_tests(where) and not is_read(entry, {file for file, _ in named_tests(where)})
    ]

    assert unread == []


def is_read(entry: str, files: set[str]) -> bool:
    """Tell whether a file names an entry, or the family that it takes entries of (`lpt_`)."""
    sources = [(TESTS / file).read_text(encoding="utf-8") for file in files]
    family = entry.partition("_")[0] + "_"
    return any(f'"{entry}"' in text or f'"{family}"' in text for text in sources)
