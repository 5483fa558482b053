"""Units: verified and judged by systemd's own tools, which need no systemd that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.tools import HOUSE, parsed


UNITS = sorted((HOUSE / "deploy" / "systemd").rglob("*.service"))
SYSTEM = [unit for unit in UNITS if unit.parent.name == "system"]
PROGRAM = r"=(?:/opt/batchpilot/bin|%h/\.local/bin)/batchpilot"
STARTED = re.compile(rf"^Exec\w+{PROGRAM} (.*)$", re.MULTILINE)
MOST_EXPOSURE = "2.5"

units = pytest.mark.parametrize("unit", UNITS, ids=[f"{u.parent.name}/{u.name}" for u in UNITS])


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not here: scripts/test-deps installs it")
    return found


def installed(unit: Path, place: Path, change: tuple[str, str] = ("", "")) -> Path:
    """Return a copy of a unit whose program is one that is here."""
    copy = place / unit.name
    text = re.sub(PROGRAM, f"={sys.executable}", unit.read_text())
    copy.write_text(text.replace(*change))
    return copy


def verified(analyze: str, unit: Path, *, user: bool, place: Path) -> str:
    told = subprocess.run(
        [analyze, *(["--user"] if user else []), "verify", "--recursive-errors=no", unit],
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(place), "HOME": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stderr if told.stderr or not told.returncode else f"exit code {told.returncode}"


def test_there_are_units_of_both_kinds() -> None:
    assert [f"{unit.parent.name}/{unit.name}" for unit in UNITS] == [
        "system/batchpilot-agent@.service",
        "system/batchpilot-coordinator@.service",
        "user/batchpilot-coordinator@.service",
    ]


@units
def test_systemd_finds_nothing_wrong(analyze: str, unit: Path, tmp_path: Path) -> None:
    user = unit.parent.name == "user"

    assert verified(analyze, installed(unit, tmp_path), user=user, place=tmp_path) == ""


def test_systemd_would_find_a_misspelt_word(analyze: str, tmp_path: Path) -> None:
    unit = installed(SYSTEM[0], tmp_path, ("KillMode", "KilMode"))

    assert "KilMode" in verified(analyze, unit, user=False, place=tmp_path)


@pytest.mark.parametrize("unit", SYSTEM, ids=[unit.name for unit in SYSTEM])
def test_services_of_the_machine_are_little_exposed(
    analyze: str, unit: Path, tmp_path: Path
) -> None:
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", installed(unit, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr
    level = re.search(r"exposure level for .*: ([\d.]+)", judged.stdout)
    assert level is not None
    assert float(level[1]) <= float(MOST_EXPOSURE)


@units
def test_our_command_line_understands_what_units_start(unit: Path) -> None:
    started = STARTED.findall(unit.read_text())

    assert started
    for words in started:
        filled = words.replace("${POOL}", "systemd").replace("${SLOTS}", "4")
        command, parameters = parsed(filled.replace("%f", "/srv/study").split())
        assert command in {"coordinator run", "coordinator stop", "agents run"}
        assert parameters["directory"] == "/srv/study"
