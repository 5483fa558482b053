"""What is said of a node, from what a probe has written there."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from batchpilot.checkup.finding import Finding, Health
from batchpilot.checkup.nodes import check_report
from batchpilot.pools import PBS
from batchpilot_broker.paths import RegistryPaths


POOL = PBS(slots=4, resources={"memory": 2000, "gpus": 1})
REACHED = {"url": "redis://10.0.0.1:16000", "words": ""}
REFUSED = {**REACHED, "words": "broker at redis://10.9.0.1:1 does not answer (refused)"}
REPORT: dict[str, Any] = {
    "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    "executable": "/opt/python",
    "packages": {"batchpilot": version("batchpilot"), "redis": "5"},
    "broker": [REACHED],
    "scratch": {"path": "/scratch", "words": "", "kind": "ext4", "local": True, "free": 5 << 30},
    "cores": 4,
    "memory": 2000.0,
    "devices": ["0"],
}


def findings(**changed: Any) -> list[Finding]:
    report = {"time": time.time(), **REPORT, **changed}
    return list(check_report(report, POOL, RegistryPaths(Path("/study"))))


def bad(**changed: Any) -> Finding:
    (found,) = (finding for finding in findings(**changed) if finding.health is Health.BAD)
    return found


def test_a_node_where_agents_would_work_is_well() -> None:
    assert {finding.health for finding in findings()} == {Health.OK}


@pytest.mark.parametrize(
    ("changed", "check", "words"),
    [
        ({"python": "3.8"}, "python", "3.8 at /opt/python, here it is"),
        ({"packages": {"batchpilot": None}}, "packages", "not found there: batchpilot"),
        ({"packages": {"batchpilot": "0.0.1"}}, "packages", "batchpilot 0.0.1, here it is"),
        ({"broker": [REFUSED]}, "broker", "does not answer"),
        ({"broker": []}, "broker", "no address of it is for other hosts"),
        (
            {"scratch": {**REPORT["scratch"], "words": "Permission denied"}},
            "scratch",
            "/scratch: Permission denied",
        ),
        (
            {"scratch": {**REPORT["scratch"], "kind": "nfs4", "local": False}},
            "scratch",
            "a network file system",
        ),
        ({"cores": 1}, "cores", "1, the pool says 4"),
        ({"memory": 500.0}, "memory", "500 MB, the pool says 2000"),
        ({"devices": []}, "devices", "none, the pool says 1"),
    ],
)
def test_what_keeps_agents_from_working_is_bad_and_has_a_remedy(
    changed: dict[str, Any], check: str, words: str
) -> None:
    found = bad(**changed)

    assert found.check == f"node {check}"
    assert words in found.text
    assert found.remedy


@pytest.mark.parametrize(("ahead", "words"), [(-4000, "behind this"), (4000, "ahead of this")])
def test_a_clock_that_differs_is_told_with_how_much_and_which_way(ahead: float, words: str) -> None:
    found = bad(time=time.time() + ahead)

    assert found.check == "node clock"
    assert found.text.startswith(f"1 h 6 min {words} one")


def test_an_address_that_is_not_reached_beside_one_that_is_needs_no_mending() -> None:
    told = [f.health for f in findings(broker=[REFUSED, REACHED]) if f.check == "node broker"]

    assert told == [Health.NOTE, Health.OK]


def test_memory_that_nothing_limits_is_enough() -> None:
    assert all(finding.health is Health.OK for finding in findings(memory=0.0))
