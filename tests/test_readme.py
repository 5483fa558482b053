"""What the README shows is what happens, and where it points there is something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from batchpilot import control
from batchpilot_broker.paths import RegistryPaths


HOUSE = Path(__file__).parents[1]
README = (HOUSE / "README.md").read_text(encoding="utf-8")


def test_the_example_of_the_readme_prints_what_the_readme_says(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)
    assert example
    script, expected = example.groups()
    (tmp_path / "example.py").write_text(script, encoding="utf-8")

    try:
        result = subprocess.run(
            [sys.executable, "example.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    finally:
        control.stop(RegistryPaths(tmp_path / "registry"))

    assert (result.stdout, result.returncode) == (expected, 0), result.stderr


def test_the_experiments_of_the_readme_are_as_many_as_its_designs_say(tmp_path: Path) -> None:
    (block,) = re.findall(
        r"```python\n(reg = bp.make_experiment_registry.*?)```", README, re.DOTALL
    )
    script = (
        f"import batchpilot as bp\n{block}print(len(reg.find_experiments()), reg.test_job(201))"
    )

    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert re.fullmatch(r"600 -?\d+\.\d+\n", result.stdout), result.stderr


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)

    assert [link for link in links if "://" not in link and not (HOUSE / link).exists()] == []


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert {"demo", "test"} <= set(re.findall(r"^    make (\w+)", README, re.MULTILINE)) & set(
        targets
    )
