"""docs/from-batchtools.md has a row for each name of the original, and tells the truth."""

from __future__ import annotations

import json
import re
from operator import attrgetter
from pathlib import Path

import pytest

import batchpilot as bp
from batchpilot.registry.whole import ExperimentRegistry


HOUSE = Path(__file__).parents[1]
PAGE = (HOUSE / "docs" / "from-batchtools.md").read_text(encoding="utf-8")
EXPORTS = json.loads((HOUSE / "tests" / "golden" / "exports.json").read_text())["value"]
TABLE = PAGE.partition("## Every name")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TABLE.splitlines()
    if line.startswith("| `")
]
OFFERED = [(theirs.strip("`"), ours.strip("`")) for theirs, ours, _ in ROWS if "`" in ours]


def test_each_name_of_the_original_has_one_row() -> None:
    assert sorted(theirs.strip("`") for theirs, *_ in ROWS) == sorted(EXPORTS)


def test_what_is_not_offered_has_its_reason() -> None:
    missing = [row for row in ROWS if "`" not in row[1]]

    assert {ours for _, ours, _ in missing} == {"not offered"}
    assert [theirs for theirs, _, why in missing if len(why) < len("as LSF")] == []


@pytest.mark.parametrize(("theirs", "ours"), OFFERED)
def test_each_name_of_ours_is_there(theirs: str, ours: str) -> None:
    home, _, name = ours.partition(".")
    where = {"bp": bp, "reg": ExperimentRegistry}[home]

    assert callable(attrgetter(name)(where)), theirs


def test_all_names_in_its_text_are_ours() -> None:
    named = set(re.findall(r"`(?:\w+ = )?(bp|reg)\.(\w+)", PAGE))
    homes = {"bp": bp, "reg": ExperimentRegistry}

    assert [name for home, name in sorted(named) if not known(homes[home], name)] == []


def known(home: object, name: str) -> bool:
    return hasattr(home, name) or name in {"source", "writeable", "pools"}


def test_its_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}

    assert {link[1:] for link in re.findall(r"\]\((#[^)]+)\)", PAGE)} <= anchors
