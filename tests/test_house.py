"""Rules of the house that no linter knows."""

import ast
import io
import os
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path


HOUSE = Path(__file__).parents[1]
ROOTS = ("core", "agent", "broker")
RQ_MODULE = Path("broker/batchpilot_broker/rqueues.py")
LONGEST_FILE = 400

CODE = r"[A-Z]+\d+"
NOQA = rf"(?:ruff:\s*)?noqa(?::\s*{CODE}(?:\s*,\s*{CODE})*)?"
TYPE_IGNORE = r"type:\s*ignore(?:\[[\w\s,-]+\])?"
DIRECTIVE = re.compile(rf"#\s*(?:{NOQA}|{TYPE_IGNORE})")
A_REASON = re.compile(r"\s[-–—#]\s+\w+\W+\w")  # noqa: RUF001 - any dash, then two words at least


def files(*folders: str, suffix: str = "") -> Iterator[Path]:
    for folder in folders:
        for path in sorted((HOUSE / folder).rglob(f"*{suffix}")):
            if path.is_file() and path.parent.name != "__pycache__":
                yield path.relative_to(HOUSE)


def comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def unexplained(source: str) -> list[int]:
    """Lines that silence a check without saying why."""
    return [
        line
        for line, comment in comments(source)
        if DIRECTIVE.search(comment) and not A_REASON.search(DIRECTIVE.sub("", comment))
    ]


def imported(source: str) -> set[str]:
    """Top-level names that this source imports, at its head or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def importers(name: str) -> set[Path]:
    return {path for path in files(*ROOTS, suffix=".py") if name in imported(text(path))}


def text(path: Path) -> str:
    return (HOUSE / path).read_text(encoding="utf-8")


def test_no_file_of_the_packages_is_longer_than_400_lines() -> None:
    lengths = {str(path): text(path).count("\n") for path in files(*ROOTS)}

    assert {path: n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_every_silenced_check_says_why() -> None:
    silent = [
        f"{path}:{line}"
        for path in files(*ROOTS, "tests", "benchmarks", suffix=".py")
        for line in unexplained(text(path))
    ]

    assert silent == []


def test_a_silenced_check_without_a_reason_is_found() -> None:
    noqa, ignore = "# no" + "qa", "# type: " + "ignore"

    assert unexplained(f"a  {noqa}\nb  {noqa}: S101, T201\nc  {ignore}[misc]  {noqa}: S101\n") == [
        1,
        2,
        3,
    ]
    assert unexplained(f"a  {noqa}: S101 - has a reason\nb  {ignore}[misc]  # has one too\n") == []


def test_only_the_broker_imports_redis() -> None:
    assert {path.parts[0] for path in importers("redis")} <= {"broker"}


def test_exactly_one_module_imports_rq() -> None:
    assert importers("rq") == {RQ_MODULE}


def test_an_import_inside_a_function_is_found() -> None:
    source = "import os\ndef f():\n    from redis.client import Redis\n    from . import rq\n"

    assert imported(source) == {"os", "redis"}


def test_make_help_tells_every_target() -> None:
    targets = re.findall(r"^([a-z]\w*):", text(Path("Makefile")), re.MULTILINE)
    # Not as a part of the make that may run this test.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}

    told = subprocess.run(
        ["make", "help"],  # noqa: S607 - make is what runs the tests
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert targets
    assert [line.split()[1] for line in told.splitlines()] == targets
