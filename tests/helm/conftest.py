"""The chart, rendered by the real helm with each of its example values."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.helm.binary import HelmMissing, environment, find_helm


CHART = Path(__file__).parents[2] / "helm" / "batchpilot"
EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "study", "batch"

Helm = Callable[..., "subprocess.CompletedProcess[str]"]
Objects = list[dict[str, Any]]
Render = Callable[..., Objects]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Hold what the chart becomes with some values."""

    name: str
    objects: Objects

    def of_kind(self, *kinds: str) -> Objects:
        """Return the objects of some kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, kind: str, suffix: str) -> dict[str, Any]:
        """Return the object of a kind whose name ends so."""
        (found,) = [o for o in self.of_kind(kind) if o["metadata"]["name"].endswith(suffix)]
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """Return the templates of pods, by the name of what makes them."""
        makers = self.of_kind("Deployment", "StatefulSet", "Job")
        return {maker["metadata"]["name"]: maker["spec"]["template"] for maker in makers}


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Give a function that runs helm."""
    try:
        binary = find_helm()
    except HelmMissing as error:
        if os.environ.get("CI"):
            raise  # there a test that is skipped for want of a program is a failure
        pytest.skip(str(error))
    home = environment(tmp_path_factory.mktemp("helm"))

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [binary, *words], env=home, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Give a function that renders the chart and returns its objects."""

    def rendered(*words: str | Path) -> Objects:
        told = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *words)
        assert told.returncode == 0, told.stderr
        return [found for found in yaml.safe_load_all(told.stdout) if found]

    return rendered


@pytest.fixture(scope="session", params=EXAMPLES, ids=[path.stem for path in EXAMPLES])
def rendered(request: pytest.FixtureRequest, render: Render) -> Rendered:
    """Give the chart rendered with one of its examples after the other."""
    return Rendered(request.param.stem.removesuffix("-values"), render("-f", request.param))


@pytest.fixture(scope="session")
def default(render: Render) -> Rendered:
    """Give the chart as it is."""
    return Rendered("default", render())
