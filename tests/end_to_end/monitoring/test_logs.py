"""Logs of a real run: JSON where the configuration asks for it, and how to look at an agent's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import Held, MakeStudy, script_environment

import batchpilot as bp
from batchpilot import control


CONFIGURATION = """
[logs]
format = "json"

[[pools]]
kind = "Local"
slots = 1
"""


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start_cli(*words: object) -> subprocess.Popen[str]:
    program = "import sys; from batchpilot.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        env=script_environment(),
    )


@pytest.fixture
def registry(tmp_path: Path, make_study: MakeStudy) -> bp.Registry:
    (tmp_path / "batchpilot.toml").write_text(CONFIGURATION)
    directory = tmp_path / "logged"
    make_study.watch(directory)
    return bp.make_registry(
        directory, seed=1, work_dir=tmp_path, conf_file=tmp_path / "batchpilot.toml"
    )


def test_all_programs_write_json_that_says_what_it_is_about(
    registry: bp.Registry, until: Until
) -> None:
    def leave(i: int) -> None:
        os._exit(i)

    registry.batch_map(leave, i=[3])
    registry.submit_jobs()
    registry.wait_for_jobs(progress=False)
    control.stop(registry.paths)
    logs = registry.paths.logs
    (agent,) = list(logs.glob("local-*.log"))
    until(lambda: "gone" in agent.read_text())

    told = {path.name: lines_of(path) for path in logs.glob("*.log")}

    assert told["coordinator.log"]
    assert all(line["registry"] for lines in told.values() for line in lines)
    assert {line["agent"] for line in told[agent.name]} == {agent.stem}
    about = [line for line in told[agent.name] if "job" in line]
    assert {line["job"] for line in about} == {1}
    assert sorted(line["attempt"] for line in about) == [1, 2, 3]
    assert len({line["chunk"] for line in about}) == 3
    assert agent.stem in {line.get("agent") for line in told["coordinator.log"]}
    registry.close()


def test_an_agents_log_is_followed_to_its_end(
    make_study: MakeStudy, held: Held, gate: Path, until: Until
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(held, i=[1])
    registry.submit_jobs()
    until(lambda: registry.get_status().running == 1)
    (agent,) = control.agents(registry.paths)
    with start_cli("agents", "log", registry.file_dir, agent["id"], "-f") as following:
        assert following.stdout is not None
        first = following.stdout.readline()

        gate.touch()
        registry.wait_for_jobs(progress=False)
        registry.stop_agents([agent["id"]])
        rest = following.stdout.read()

    assert following.returncode == 0
    assert agent["id"] in first
    assert "leaving: drain" in rest


def test_the_log_of_nobody_is_not_there(make_study: MakeStudy) -> None:
    registry = make_study()
    for name in ("local-1", "../owner.json", "coordinator/../supervisor"):
        with start_cli("agents", "log", registry.file_dir, name) as asked:
            asked.communicate()

        assert asked.returncode == 3
