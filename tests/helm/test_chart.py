"""The chart as helm and Kubernetes read it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from tests.deploy.tools import HOUSE, read_yaml
from tests.helm.conftest import CHART, EXAMPLES, Helm, Render, Rendered
from tests.helm.crds import SCHEMAS

from batchpilot.coordinator.watching.catalogue import CATALOGUE


VERSIONS = ("1.27.0", "1.37.0")
BUILD = HOUSE / "helm" / "build.py"
META = read_yaml(CHART / "Chart.yaml")
DEPLOY = HOUSE / "deploy"


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_helm_finds_nothing_to_complain_of(helm: Helm, example: Path) -> None:
    told = helm("lint", "--strict", CHART, "--values", example)

    assert told.returncode == 0, told.stdout
    assert "0 chart(s) failed" in told.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_object_and_every_field(rendered: Rendered, version: str) -> None:
    built_in = [found for found in rendered.objects if found["kind"] not in SCHEMAS]

    assert built_in
    for found in built_in:
        kubernetes_validate.validate(found, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found(default: Rendered) -> None:
    found = json.loads(json.dumps(default.one("Deployment", "-agents")))
    found["spec"]["template"]["spec"]["automountServiceAcountToken"] = False

    with pytest.raises(kubernetes_validate.ValidationError, match="automountServiceAcountToken"):
        kubernetes_validate.validate(found, VERSIONS[0], strict=True)


def test_objects_of_operators_are_what_those_ask_for(render: Render) -> None:
    found = render("-f", CHART / "ci" / "monitored-values.yaml")
    theirs = [thing for thing in found if thing["kind"] in SCHEMAS]

    assert {thing["kind"] for thing in theirs} == set(SCHEMAS)
    for thing in theirs:
        faults = [
            e.message for e in Draft202012Validator(SCHEMAS[thing["kind"]]).iter_errors(thing)
        ]
        assert faults == [], thing["metadata"]["name"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("agents.replica=3", "'replica' not allowed"),
        ("agents.slots=0", "/agents/slots"),
        ("broker.deploy=false", "/broker/existingSecret"),
        ("image.tag=latest", "/image/tag"),
        ("registry.accessModes={Anyhow}", "/registry/accessModes"),
        ("broker.external.url=redis://:secret@host:6379", "/broker/external/url"),
        ("agents.logFormat=xml", "/agents/logFormat"),
        ("metrics.port=80", "/metrics/port"),
        ("agents.keda.enabled=true", "enable metrics.serviceMonitor"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(
    helm: Helm, change: str, told: str
) -> None:
    refused = helm("template", "x", CHART, "--set", change)

    assert refused.returncode != 0
    assert told in refused.stderr


def test_it_is_packaged_with_all_it_needs(helm: Helm, tmp_path: Path) -> None:
    packed = helm("package", CHART, "-d", tmp_path)
    assert packed.returncode == 0, packed.stderr
    (file,) = tmp_path.glob("*.tgz")
    with tarfile.open(file) as tarball:
        names = tarball.getnames()

    assert "batchpilot/files/rules/alerts.yml" in names
    assert "batchpilot/values.schema.json" in names
    assert not [name for name in names if "/ci/" in name]
    rendered = helm("template", "study", file, "--set", "metrics.prometheusRule.enabled=true")
    assert rendered.returncode == 0
    assert "BatchpilotBrokerDown" in rendered.stdout


def test_its_version_is_that_of_batchpilot() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]

    assert (META["version"], META["appVersion"]) == (project["version"], project["version"])


def test_what_is_made_from_elsewhere_is_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, BUILD, "--check"], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_what_is_out_of_date_is_told(tmp_path: Path) -> None:
    for name in ("helm", "deploy"):
        compiled = shutil.ignore_patterns("__pycache__")  # other processes write there meanwhile
        shutil.copytree(HOUSE / name, tmp_path / name, ignore=compiled)
    (tmp_path / "helm" / "batchpilot" / "files" / "rules" / "old.yml").touch()
    (tmp_path / "deploy" / "compose" / "valkey.conf").write_text("port 1\n")

    checked = subprocess.run(
        [sys.executable, tmp_path / "helm" / "build.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 1
    assert "files/rules/old.yml is stale" in checked.stderr
    assert "files/valkey.conf is stale" in checked.stderr


def test_rules_and_dashboards_arrive_as_they_are_in_deploy(render: Render) -> None:
    found = render("-f", CHART / "ci" / "monitored-values.yaml")
    rules = {f["metadata"]["name"]: f["spec"] for f in found if f["kind"] == "PrometheusRule"}
    (boards,) = [f["data"] for f in found if f["metadata"]["name"].endswith("-dashboards")]

    assert rules == {
        f"study-{path.stem}": read_yaml(path)
        for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    }
    assert boards == {
        f"batchpilot-{path.name}": path.read_text()
        for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
    }


def test_every_value_is_described_and_has_a_place_in_the_schema() -> None:
    readme = (CHART / "README.md").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = read_yaml(CHART / "values.yaml")

    undescribed = [path for path in leaves(values) if f"| `{path}` |" not in readme]
    assert [p for p in undescribed if not any(f"| `{q}` |" in readme for q in above(p))] == []
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(values)
    assert schema["additionalProperties"] is False


def leaves(values: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        here = f"{path}.{name}".lstrip(".")
        found += leaves(value, here) if isinstance(value, dict) and value else [here]
    return found


def above(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def test_keda_asks_for_a_metric_that_is_exported(render: Render) -> None:
    found = render("-f", CHART / "ci" / "monitored-values.yaml")
    (scaled,) = [f for f in found if f["kind"] == "ScaledObject"]
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    (wanted,) = [m for m in CATALOGUE if m.name == "batchpilot_pool_wanted_agents"]

    assert query == (
        'max(batchpilot_pool_wanted_agents{namespace="batch",service="study-coordinator",'
        'pool="spot"})'
    )
    assert "pool" in wanted.labels
    deployments = [thing for thing in found if thing["kind"] == "Deployment"]
    (agents,) = [thing for thing in deployments if "replicas" not in thing["spec"]]
    assert scaled["spec"]["scaleTargetRef"]["name"] == agents["metadata"]["name"]


def test_notes_are_written_for_every_example(helm: Helm) -> None:
    for path in EXAMPLES:
        told = helm("install", "study", CHART, "--dry-run=client", "-f", path)
        assert told.returncode == 0, told.stderr
        notes = told.stdout.partition("NOTES:")[2]
        assert "batchpilot status /registry/" in notes
        assert ("WARNING" in notes) == (path.stem == "small-values")


def test_the_examples_are_yaml_with_a_comment_that_says_what_they_show() -> None:
    assert len(EXAMPLES) >= 4
    for path in EXAMPLES:
        text = path.read_text()
        assert text.startswith("# ")
        assert isinstance(yaml.safe_load(text), dict)
