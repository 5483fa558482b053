"""docs/tutorial.md, run from its first block to its last: what it shows is what is printed.

`python tests/test_tutorial.py` runs it and writes what was printed into the page.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path

import pytest

from batchpilot import control
from batchpilot_broker.paths import RegistryPaths


HOUSE = Path(__file__).parents[1]
PAGE = HOUSE / "docs" / "tutorial.md"
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)
SECONDS = 170

SESSION = """
import ast, json, linecache, os, sys, tempfile

import __main__

def run(code, number):
    name = f"<block {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    *body, last = ast.parse(code).body
    value = None
    if not isinstance(last, ast.Expr):
        body.append(last)
    exec(compile(ast.Module(body, []), name, "exec"), vars(__main__))
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), name, "eval"), vars(__main__))
    if value is not None:
        print(value if type(value).__module__.startswith("pandas") else repr(value))

blocks, printed = json.load(sys.stdin), []
shown = os.dup(1)
for number, code in enumerate(blocks, 1):
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 1)
        run(code, number)
        sys.stdout.flush()
        os.dup2(shown, 1)
        output.seek(0)
        printed.append(output.read().decode())
print(json.dumps(printed))
"""


def printed_by(blocks: list[str], where: Path) -> list[str]:
    """Run the blocks in one session, as a user types them; return what each of them printed."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", SESSION],
            cwd=where,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            input=json.dumps(blocks),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    finally:
        for owner in where.glob("*/owner.json"):  # of a session that did not come to its end
            control.stop(RegistryPaths(owner.parent))
    assert ended.returncode == 0, ended.stderr
    printed: list[str] = json.loads(ended.stdout)
    return [re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) for text in printed]


def settled(text: str) -> str:
    """Return what was printed without what differs from day to day and place to place."""
    text = re.sub(r"at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "at <time>", text)
    text = re.sub(r"((?:File|Work) dir *: ).*", r"\1<place>", text)
    return re.sub(r"\b\d+d \d\dh \d\dm \d+(?:\.\d+)?s", "<time>", text)


@pytest.mark.timeout(SECONDS + 10)
def test_every_block_of_the_tutorial_prints_what_the_tutorial_shows(tmp_path: Path) -> None:
    page = BLOCK.findall(PAGE.read_text(encoding="utf-8"))

    printed = printed_by([code for code, _ in page], tmp_path)

    for (code, shown), found in zip_longest(page, printed):
        assert settled(found) == settled(shown), code
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_prints_something_else_is_found() -> None:
    day = "Status for 9 jobs at 2026-11-22 10:00:00:"

    assert settled(day) == settled(day.replace("22", "23"))
    assert settled(day) != settled(day.replace("9", "8"))


def renewed(page: str, where: Path) -> str:
    """Return the page with what its blocks print now."""
    printed = iter(printed_by([code for code, _ in BLOCK.findall(page)], where))

    def block(match: re.Match[str]) -> str:
        text = next(printed).replace(str(where), "/home/you")
        return f"```python\n{match[1]}```\n" + (f"```text\n{text}```\n" if text else "")

    return BLOCK.sub(block, page)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), Path(place)), encoding="utf-8")
