"""What dashboards are made of: targets, panels, rows; plain dicts of Grafana's classic model.

Schema 39 is read by Grafana 10 to 13. Ids are numbered in the order of the panels, colours belong
to states, and each panel says what normal looks like: `normal` is not optional.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA: Final = 39
WIDTH: Final = 24
MINE: Final = 'registry=~"$registry"'
IN_POOL: Final = f'{MINE}, pool=~"$pool"'
RATE: Final = "[$__rate_interval]"

COLOURS: Final = {
    "not_submitted": "#6E7781",
    "queued": "#F2CC0C",
    "running": "#3274D9",
    "done": "#56A64B",
    "error": "#E02F44",
    "expired": "#8F3BB8",
    "lost": "#FF780A",
    "agent_lost": "#FF780A",
    "left": "#A0AEC0",
    "starting": "#8AB8FF",
    "idle": "#A0AEC0",
    "busy": "#3274D9",
    "draining": "#FFB357",
    "ok": "#56A64B",
    "failed": "#E02F44",
    "wanted": "#1F2933",
}
"""The colour of each state and outcome, the same on every panel."""

NAMED_BY: Final = {
    "{{state}}": (
        *("queued", "running", "done", "error", "expired"),
        *("starting", "idle", "busy", "draining"),
    ),
    "{{outcome}}": ("done", "error", "expired", "ok", "failed"),
    "{{reason}}": ("left", "lost", "agent_lost"),
    "wanted": ("wanted",),
}
"""The states that a series may be named by, where its name ends so."""

GOOD: Final = "green"
WARN: Final = "orange"
BAD: Final = "red"

Panel = dict[str, Any]
Thresholds = Mapping[float | None, str]


@dataclass(frozen=True, slots=True)
class Query:
    """Hold a query and the name of what it draws.

    Attributes:
        expr: PromQL.
        legend: Template of the names of its series.
        form: "time_series", or "heatmap".
        instant: Whether only the last value is asked for.
    """

    expr: str
    legend: str
    form: str = "time_series"
    instant: bool = False

    def target(self, ref: str) -> Panel:
        """Return it as Grafana has it."""
        return {
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": self.expr,
            "format": self.form,
            "instant": self.instant,
            "legendFormat": self.legend,
            "range": not self.instant,
            "refId": ref,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Hold how values are drawn.

    Attributes:
        unit: Grafana's name of the unit.
        width: Columns of 24.
        height: Lines.
        stacked: Whether series stand on each other.
        thresholds: Colours from values on; None is the lowest.
        names: Words for values.
        low: Smallest value of the axis.
        high: Largest value of the axis.
        decimals: Digits behind the point.
    """

    unit: str
    width: int = 12
    height: int = 8
    stacked: bool = False
    thresholds: Thresholds = field(default_factory=lambda: {None: GOOD})
    names: Mapping[str, str] = field(default_factory=dict)
    low: float | None = 0
    high: float | None = None
    decimals: int | None = None


def stat(title: str, normal: str, query: Query, look: Look) -> Panel:
    """Return one number in the colour of its threshold."""
    panel = _panel("stat", title, normal, [query], look)
    panel["options"] = {
        "colorMode": "background",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    return panel


def lines(title: str, normal: str, queries: Query | Sequence[Query], look: Look) -> Panel:
    """Return series over time, with their last and largest values in a table below."""
    drawn = [queries] if isinstance(queries, Query) else list(queries)
    panel = _panel("timeseries", title, normal, drawn, look)
    panel["fieldConfig"]["defaults"]["custom"] = {
        "drawStyle": "line",
        "fillOpacity": 70 if look.stacked else 10,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"group": "A", "mode": "normal" if look.stacked else "none"},
    }
    panel["options"] = {
        "legend": {
            "calcs": ["lastNotNull", "max"],
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "sortBy": "Last *",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel


def heat(title: str, normal: str, metric: str, look: Look) -> Panel:
    """Return the distribution of a histogram over time."""
    expr = f"sum by (le) (increase({metric}_bucket{{{MINE}}}{RATE}))"
    panel = _panel("heatmap", title, normal, [Query(expr, "{{le}}", form="heatmap")], look)
    panel["options"] = {
        "calculate": False,
        "cellGap": 1,
        "color": {"exponent": 0.5, "mode": "scheme", "scheme": "Blues", "steps": 64},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": look.unit},
    }
    return panel


def alerts(title: str, normal: str, look: Look) -> Panel:
    """Return the list of the alerts that fire."""
    panel = _panel("alertlist", title, normal, [], look)
    panel["options"] = {
        "alertInstanceLabelFilter": '{registry=~"$registry"}',
        "alertName": "Batchpilot",
        "datasource": "${datasource}",
        "groupMode": "default",
        "maxItems": 20,
        "sortOrder": 1,
        "stateFilter": {"error": True, "firing": True, "noData": False, "pending": True},
        "viewMode": "list",
    }
    return panel


def over(how: str, metric: str, by: str = "", legend: str = "", match: str = MINE) -> Query:
    """Return the sum, the most or the least of a gauge, by labels if some are named."""
    return _aggregated(how, f"{metric}{{{match}}}", by, legend)


def grown(how: str, metric: str, by: str = "", legend: str = "", match: str = MINE) -> Query:
    """Return the rate or the increase of a counter, by labels if some are named."""
    return _aggregated("sum", f"{how}({metric}{{{match}}}{RATE})", by, legend)


def _aggregated(how: str, expr: str, by: str, legend: str) -> Query:
    labels = f" by ({by}) " if by else ""
    named = " ".join(f"{{{{{label}}}}}" for label in by.split(", ")) if by else ""
    return Query(f"{how}{labels}({expr})", legend or named)


def quantiles(metric: str, by: str = "", match: str = MINE) -> list[Query]:
    """Return median and 95th percentile of a histogram, by a label if one is named."""
    labels = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    summed = f"sum by ({labels}) (rate({metric}_bucket{{{match}}}{RATE}))"
    return [
        Query(f"histogram_quantile({share}, {summed})", f"{name}{word}")
        for share, word in ((0.5, "half within"), (0.95, "95 % within"))
    ]


def dashboard(
    uid: str, title: str, text: str, rows: Mapping[str, list[Panel]], *, pools: bool = False
) -> Panel:
    """Return a whole dashboard; its panels stand in rows, side by side as far as they fit."""
    return {
        "annotations": {"list": _annotations()},
        "description": text,
        "editable": False,
        "graphTooltip": 1,
        "links": [_link()],
        "panels": _laid_out(rows),
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "tags": ["batchpilot"],
        "templating": {"list": _variables(pools=pools)},
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "title": title,
        "uid": uid,
    }


def _panel(kind: str, title: str, normal: str, queries: list[Query], look: Look) -> Panel:
    return {
        "datasource": SOURCE,
        "description": normal,
        "fieldConfig": {"defaults": _defaults(look), "overrides": _colours(queries)},
        "gridPos": {"h": look.height, "w": look.width},
        "targets": [query.target(chr(ord("A") + i)) for i, query in enumerate(queries)],
        "title": title,
        "type": kind,
    }


def _defaults(look: Look) -> Panel:
    steps = [{"color": colour, "value": value} for value, colour in look.thresholds.items()]
    defaults: Panel = {"unit": look.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    for name, value in (("min", look.low), ("max", look.high), ("decimals", look.decimals)):
        if value is not None:
            defaults[name] = value
    if look.names:
        options = {value: {"text": word} for value, word in look.names.items()}
        defaults["mappings"] = [{"options": options, "type": "value"}]
    return defaults


def _colours(queries: Iterable[Query]) -> list[Panel]:
    """Return the colours of states; a series is known by a state at the end of its name."""
    last_words = {query.legend.rpartition(" ")[2] for query in queries}
    states = dict.fromkeys(state for word in last_words for state in NAMED_BY.get(word, ()))
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/(^|\\s){state}$/"},
            "properties": [
                {"id": "color", "value": {"fixedColor": COLOURS[state], "mode": "fixed"}}
            ],
        }
        for state in sorted(states)
    ]


def _laid_out(rows: Mapping[str, list[Panel]]) -> list[Panel]:
    placed: list[Panel] = []
    y = 0
    for title, panels in rows.items():
        grid = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        placed.append(
            {"collapsed": False, "gridPos": grid, "panels": [], "title": title, "type": "row"}
        )
        y += 1
        x = height = 0
        for panel in panels:
            if x + panel["gridPos"]["w"] > WIDTH:
                x, y, height = 0, y + height, 0
            placed.append({**panel, "gridPos": {**panel["gridPos"], "x": x, "y": y}})
            x += panel["gridPos"]["w"]
            height = max(height, panel["gridPos"]["h"])
        y += height
    return [{**panel, "id": number} for number, panel in enumerate(placed, start=1)]


def _variables(*, pools: bool) -> list[Panel]:
    source = {"label": "Data source", "name": "datasource", "query": "prometheus"}
    found = [
        {**source, "current": {}, "hide": 0, "type": "datasource"},
        _variable("registry", "Registry", "label_values(batchpilot_build_info, registry)"),
    ]
    if pools:
        query = f"label_values(batchpilot_pool_wanted_agents{{{MINE}}}, pool)"
        found.append(_variable("pool", "Pool", query))
    return found


def _variable(name: str, label: str, query: str) -> Panel:
    return {
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": SOURCE,
        "definition": query,
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def _annotations() -> list[Panel]:
    lost = f'increase(batchpilot_agents_ended_total{{{MINE}, reason="lost"}}{RATE}) > 0'
    office = f"changes(batchpilot_coordinator_term{{{MINE}}}{RATE}) > 0"
    return [
        _annotation("Agents lost", lost, COLOURS["lost"], "{{pool}}"),
        _annotation("Another coordinator", office, COLOURS["expired"], "{{registry}}"),
    ]


def _annotation(name: str, expr: str, colour: str, text: str) -> Panel:
    return {
        "datasource": SOURCE,
        "enable": True,
        "expr": expr,
        "iconColor": colour,
        "name": name,
        "titleFormat": name,
        "textFormat": text,
    }


def _link() -> Panel:
    return {
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "tags": ["batchpilot"],
        "title": "batchpilot",
        "type": "dashboards",
    }
