#!/usr/bin/env python3
"""Make what the chart has from elsewhere: `python helm/build.py`; `--check` tells what is stale.

    values.yaml                 -> values.schema.json, the table in README.md
    deploy/prometheus/rules     -> files/rules
    deploy/grafana/dashboards   -> files/dashboards
    deploy/compose/valkey.conf  -> files/valkey.conf

A chart is packaged without what lies outside, and links are not packaged reliably: so these are
copies, and a test compares them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml


HOUSE: Final = Path(__file__).parents[1]
CHART: Final = HOUSE / "helm" / "batchpilot"
BEGIN, END = "<!-- values: made by helm/build.py -->", "<!-- end of values -->"

WHOLE: Final = {"type": "integer", "minimum": 0}
COUNT: Final = {"type": "integer", "minimum": 1}
PULL: Final = {"enum": ["Always", "IfNotPresent", "Never"]}
FORMAT: Final = {"enum": ["json", "text"]}
DIGEST: Final = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
NAME: Final = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$"}
SECONDS: Final = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}
URL: Final = {"type": "string", "pattern": "^(rediss?://([^:@/]+@)?[^@/]+(/[0-9]+)?)?$"}

TIGHTER: Final[Mapping[str, Any]] = {
    "image.pullPolicy": PULL,
    "image.digest": DIGEST,
    "image.repository": {"type": "string", "minLength": 1},
    "image.tag": {"type": "string", "not": {"const": "latest"}},
    "registry.name": NAME,
    "registry.accessModes": {
        "type": "array",
        "minItems": 1,
        "items": {"enum": ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]},
    },
    "broker.image.pullPolicy": PULL,
    "broker.image.digest": DIGEST,
    "broker.image.tag": {"type": "string", "minLength": 1, "not": {"const": "latest"}},
    "broker.external.url": URL,
    "coordinator.logFormat": FORMAT,
    "coordinator.terminationGracePeriodSeconds": COUNT,
    "agents.pool": NAME,
    "agents.replicas": WHOLE,
    "agents.slots": COUNT,
    "agents.maxAgents": COUNT,
    "agents.memory": COUNT,
    "agents.grace": WHOLE,
    "agents.logFormat": FORMAT,
    "agents.podDisruptionBudget.maxUnavailable": {
        "anyOf": [COUNT, {"type": "string", "pattern": "^[0-9]+%$"}]
    },
    "agents.keda.minReplicas": WHOLE,
    "agents.keda.pollingInterval": COUNT,
    "agents.keda.cooldownPeriod": WHOLE,
    "metrics.port": {"type": "integer", "minimum": 1024, "maximum": 65535},
    "metrics.serviceMonitor.interval": SECONDS,
}
"""What is asked of values beyond their kind."""

OPEN: Final = ("podSecurityContext", "securityContext", "resources")
"""Maps that are Kubernetes' own: it knows what may stand in them."""

CONDITIONS: Final = [
    {
        "if": {"properties": {"broker": {"properties": {"deploy": {"const": False}}}}},
        "then": {
            "properties": {
                "broker": {
                    "properties": {
                        "existingSecret": {"minLength": 1},
                        "external": {"properties": {"url": {"minLength": 1}}},
                    }
                }
            }
        },
    }
]


def schema(values: Any, path: str = "") -> dict[str, Any]:
    """Return the schema of values: closed against names that it does not know."""
    if path in TIGHTER:
        return dict(TIGHTER[path])
    if not isinstance(values, dict):
        kinds = {bool: "boolean", int: "integer", str: "string", list: "array"}
        return {"type": kinds[type(values)]}
    if not values or path.rpartition(".")[2] in OPEN:
        return {"type": "object"}
    inner = {name: schema(value, f"{path}.{name}".lstrip(".")) for name, value in values.items()}
    return {"type": "object", "additionalProperties": False, "properties": inner}


def described(text: str) -> Iterator[tuple[str, str]]:
    """Yield the path and description of each value that has one."""
    path: list[tuple[int, str]] = []
    told = ""
    for line in text.splitlines():
        comment = re.match(r"\s*# -- (.*)", line)
        entry = re.match(r"(\s*)([A-Za-z]\w*):", line)
        if comment:
            told = comment[1]
        elif entry:
            depth = len(entry[1])
            path = [*((d, name) for d, name in path if d < depth), (depth, entry[2])]
            if told:
                yield ".".join(name for _, name in path), told
            told = ""


def table(text: str) -> str:
    """Return the table of the values for README.md."""
    values = yaml.safe_load(text)
    lines = ["| value | what it is | default |", "|---|---|---|"]
    for path, told in described(text):
        value: Any = values
        for name in path.split("."):
            value = value[name]
        shown = json.dumps(value).replace("|", "\\|").replace("\\n", " ")
        lines.append(f"| `{path}` | {told} | `{shown}` |")
    return "\n".join(lines)


def made() -> dict[Path, str]:
    """Return the contents of all that is made, by its path."""
    text = _read(CHART / "values.yaml")
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", **schema(yaml.safe_load(text))}
    whole["properties"]["global"] = {"type": "object"}  # what a chart above may hand down
    readme = _read(CHART / "README.md")
    head, _, rest = readme.partition(BEGIN)
    files = {
        CHART / "values.schema.json": json.dumps({**whole, "allOf": CONDITIONS}, indent=2) + "\n",
        CHART / "README.md": f"{head}{BEGIN}\n{table(text)}\n{END}{rest.partition(END)[2]}",
        CHART / "files" / "valkey.conf": _read(HOUSE / "deploy" / "compose" / "valkey.conf"),
    }
    for place, pattern in (("prometheus/rules", "*.yml"), ("grafana/dashboards", "*.json")):
        for source in sorted((HOUSE / "deploy" / place).glob(pattern)):
            files[CHART / "files" / Path(place).name / source.name] = _read(source)
    return files


def stale() -> list[Path]:
    """Return what is not as it would be made, and what nothing makes any more."""
    files = made()
    changed = [path for path, text in files.items() if not path.exists() or _read(path) != text]
    left = [path for path in (CHART / "files").rglob("*.*") if path not in files]
    return changed + left


def main(words: list[str]) -> int:
    """Make it, or check it; return the exit code."""
    found = stale()
    files = made()
    for path in found:
        if "--check" in words:
            print(f"{path.relative_to(HOUSE)} is stale: run helm/build.py", file=sys.stderr)
        elif path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
    return bool(found) if "--check" in words else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
