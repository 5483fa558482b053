"""Dashboards: generated, whole, and made as Grafana's own linter asks."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.dashboards import (
    DEPLOY,
    NAMES,
    all_queries,
    dashboard,
    panels,
    queries,
)

from batchpilot.coordinator.watching.catalogue import CATALOGUE, Type


BUILD = DEPLOY / "grafana" / "build.py"
MOST_PANELS = 24
COLUMNS = 24
UNITS = {"bool_on_off", "bytes", "cps", "none", "percentunit", "s", "short"}
PARTS = ("_bucket", "_sum", "_count")

boards = pytest.mark.parametrize("board", [dashboard(name) for name in NAMES], ids=NAMES)
Board = dict[str, Any]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give what the program that writes the dashboards defines."""
    monkeypatch.syspath_prepend(str(BUILD.parent))
    return runpy.run_path(str(BUILD))


def test_what_is_committed_is_what_the_program_writes() -> None:
    checked = subprocess.run([sys.executable, BUILD, "--check"], check=False, capture_output=True)

    assert (checked.returncode, checked.stderr) == (0, b"")


def test_a_dashboard_that_was_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "grafana"
    compiled = shutil.ignore_patterns("__pycache__")  # other processes write there meanwhile
    shutil.copytree(BUILD.parent, copy, ignore=compiled)
    changed = copy / "dashboards" / "pools.json"
    changed.write_text(changed.read_text().replace("Wanted and there", "There"))

    checked = subprocess.run(
        [sys.executable, copy / "build.py", "--check"], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 1
    assert "pools.json is out of date" in checked.stderr


def test_each_dashboard_has_a_uid_and_a_title_of_its_own() -> None:
    found = [dashboard(name) for name in NAMES]

    assert [board["uid"] for board in found] == [f"batchpilot-{name}" for name in NAMES]
    assert len({board["title"] for board in found}) == len(NAMES)


@boards
def test_it_cannot_be_edited_in_place_and_has_no_id_of_one_server(board: Board) -> None:
    assert board["editable"] is False
    assert "id" not in board
    assert (board["refresh"], board["graphTooltip"]) == ("30s", 1)


@boards
def test_no_source_of_data_is_named_but_the_variable(board: Board) -> None:
    uids = re.findall(r'"uid": "([^"]*)"', json.dumps([board["panels"], board["annotations"]]))

    assert set(uids) == {"${datasource}"}
    assert board["templating"]["list"][0]["type"] == "datasource"


@boards
def test_variables_follow_the_time_that_is_chosen(board: Board) -> None:
    variables = [v for v in board["templating"]["list"] if v["type"] == "query"]

    assert "registry" in {variable["name"] for variable in variables}
    assert {variable["refresh"] for variable in variables} == {2}


@boards
def test_each_panel_has_a_title_a_unit_and_says_what_normal_looks_like(board: Board) -> None:
    for panel in panels(board):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert panel["title"]
        assert len(panel["description"].split()) >= 3, panel["title"]  # a sentence
        assert panel["description"].endswith("."), panel["title"]
        assert unit in UNITS or unit.startswith("suffix: "), panel["title"]


@boards
def test_titles_do_not_repeat_and_ids_count_the_panels(board: Board) -> None:
    titles = [panel["title"] for panel in panels(board)]

    assert sorted(set(titles)) == sorted(titles)
    assert [panel["id"] for panel in board["panels"]] == [
        *range(1, len(board["panels"]) + 1),
    ]


@boards
def test_panels_are_few_and_stand_side_by_side_without_overlap(board: Board) -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(panels(board)) <= MOST_PANELS
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < COLUMNS


@boards
def test_each_query_has_a_legend_and_asks_for_the_registries_chosen(board: Board) -> None:
    for panel in panels(board):
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
    for asked in queries(board):
        assert 'registry=~"$registry"' in asked.expr or "ALERTS" in asked.expr, asked.where


@boards
def test_rates_are_taken_over_an_interval_that_fits_the_scrapes(board: Board) -> None:
    for asked in queries(board):
        assert set(re.findall(r"\[([^\]]*)\]", asked.expr)) <= {"$__rate_interval"}, asked.where


@boards
def test_stats_have_thresholds(board: Board) -> None:
    for panel in panels(board):
        if panel["type"] == "stat":
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None


def test_counters_are_shown_as_rates_only() -> None:
    for asked in all_queries():
        for name in asked.metrics():
            if name.endswith(("_total", "_bucket")):
                assert re.search(rf"(rate|increase)\({name}\b", asked.expr), asked.where


def test_gauges_are_never_shown_as_rates() -> None:
    gauges = [metric.name for metric in CATALOGUE if metric.type is Type.GAUGE]
    rated = r"\b(rate|increase)\({}\b"

    wrong = [a for a in all_queries() for g in gauges if re.search(rated.format(g), a.expr)]
    assert wrong == []


def test_a_state_has_one_colour_on_all_panels() -> None:
    colours: dict[str, set[str]] = {}
    for name in NAMES:
        for panel in panels(dashboard(name)):
            for override in panel["fieldConfig"]["overrides"]:
                colour = override["properties"][0]["value"]["fixedColor"]
                colours.setdefault(override["matcher"]["options"], set()).add(colour)

    assert {len(found) for found in colours.values()} == {1}
    assert colours[r"/(^|\s)running$/"] == {"#3274D9"}


def test_each_metric_that_is_exported_is_on_a_panel_or_said_not_to_be(
    built: dict[str, Any],
) -> None:
    shown = set().union(*(asked.metrics() for asked in all_queries()))
    shown |= {name.removesuffix(part) for name in shown for part in PARTS}
    exported = {metric.name for metric in CATALOGUE}

    assert exported - shown == {n for n in built["NOT_SHOWN"] if n.startswith("batchpilot_")}


def test_no_panel_asks_for_a_metric_that_is_not_exported() -> None:
    exported = {metric.name for metric in CATALOGUE}
    exported |= {
        metric.name + part
        for metric, part in itertools.product(CATALOGUE, PARTS)
        if metric.type is Type.HISTOGRAM
    }

    asked_for = set().union(*(asked.metrics() for asked in all_queries()))
    assert {n for n in asked_for if n.startswith("batchpilot_")} <= exported


def test_labels_that_panels_use_are_those_of_the_metrics() -> None:
    labels = {metric.name: {*metric.labels, "registry"} for metric in CATALOGUE}

    for asked in all_queries():
        for name, matchers in re.findall(r"\b(batchpilot_\w+)\{([^}]*)\}", asked.expr):
            whole = name if name in labels else name.removesuffix("_bucket")
            used = set(re.findall(r"(\w+)\s*[=!]~?", re.sub(r'"[^"]*"', '""', matchers)))
            assert used <= labels[whole], asked.where


def test_prometheus_understands_each_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here: scripts/test-deps installs it")
    rules = [
        {"record": f"asked:{number}:query", "expr": asked.substituted()}
        for number, asked in enumerate(all_queries())
    ]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))

    checked = subprocess.run(
        [promtool, "check", "rules", file], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
