"""The image: no builder runs here, so its recipe is read, and its build is done by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.deploy.tools import HOUSE, parsed


RECIPE = (HOUSE / "deploy" / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (HOUSE / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8")
STEPS = [
    line
    for line in re.sub(r"\\\n\s*", "", RECIPE).splitlines()
    if line and not line.startswith("#")
]
COMPILED = shutil.ignore_patterns("__pycache__")  # other processes write there meanwhile


def copied() -> list[str]:
    """Return what comes from the repository."""
    words = [step.split()[1:-1] for step in STEPS if step.startswith("COPY ")]
    return [name for names in words for name in names if not names[0].startswith("--from")]


def test_what_runs_is_built_elsewhere_and_runs_without_privileges() -> None:
    stages = [step for step in STEPS if step.startswith("FROM ")]
    last = STEPS[STEPS.index(stages[-1]) :]

    assert len(stages) == 2
    assert "pip" not in " ".join(last)
    assert "USER 10001:10001" in last
    assert last.index("USER 10001:10001") > max(
        i for i, step in enumerate(last) if step.startswith("RUN ")
    )


def test_images_below_have_a_version() -> None:
    below = [step.split()[1] for step in STEPS if step.startswith("FROM ")]

    assert all(":" in image and not image.endswith(":latest") for image in below)


def test_process_1_reaps_what_jobs_leave() -> None:
    (entry,) = [step for step in STEPS if step.startswith("ENTRYPOINT ")]

    assert entry == 'ENTRYPOINT ["/usr/bin/tini", "--", "batchpilot"]'
    assert parsed(["agents", "run", "--pool=x"])[0] == "agents run"


def test_all_that_is_copied_is_there_and_sent_to_the_builder() -> None:
    sent = set(re.findall(r"^!(\S+)$", IGNORED, re.MULTILINE))

    assert set(copied()) == sent
    assert [name for name in copied() if not (HOUSE / name).exists()] == []


def test_what_is_copied_is_enough_to_build_batchpilot(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for name in copied():
        if (HOUSE / name).is_dir():
            shutil.copytree(HOUSE / name, source / name, ignore=COMPILED)
        else:
            shutil.copy(HOUSE / name, source / name)

    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, source),
            # It builds with the hatchling that is installed: no index is asked.
            *("--no-build-isolation", "--check-build-dependencies"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"batchpilot/__init__.py", "batchpilot_agent/__main__.py"} <= set(names)
    assert any(name.endswith(".lua") for name in names)
