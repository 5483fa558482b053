"""What tests ask of dashboards: their panels, and the queries behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


DEPLOY = Path(__file__).parents[2] / "deploy"
DIRECTORY = DEPLOY / "grafana" / "dashboards"
NAMES = ("overview", "pools", "coordinator")

_METRIC = re.compile(r"\b(?:batchpilot|process|python)_\w+")
_VARIABLES = {"$registry": ".*", "$pool": ".*", "$__rate_interval": "1m"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold a query and where it stands."""

    where: str
    expr: str

    def substituted(self) -> str:
        """Return the query as Grafana sends it, with all registries and pools chosen."""
        expr = self.expr
        for name, value in _VARIABLES.items():
            expr = expr.replace(name, value)
        return expr

    def metrics(self) -> set[str]:
        """Return the names of the metrics in it."""
        return set(_METRIC.findall(re.sub(r'"[^"]*"', "", self.expr)))


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard as it is committed."""
    found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    return found


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: dict[str, Any]) -> Iterator[Asked]:
    """Yield the queries of panels, annotations and variables."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Asked(f"{board['uid']}: {panel['title']}", target["expr"])
    for annotation in board["annotations"]["list"]:
        yield Asked(f"{board['uid']}: annotation {annotation['name']}", annotation["expr"])


def panel_queries() -> list[Asked]:
    """Return the queries of all panels: each is to return data while there are jobs."""
    return [
        asked for name in NAMES for asked in queries(dashboard(name)) if "annot" not in asked.where
    ]


def all_queries() -> list[Asked]:
    """Return the queries of all dashboards."""
    return [asked for name in NAMES for asked in queries(dashboard(name))]
