"""A real Prometheus on loopback, for one test run: a child of the test, never a service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.testbed.ports import lent_port


DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = sorted((DEPLOY / "rules").glob("*.yml"))
INTERVAL = "1s"
BORNE = "30s"
STEP = 1.0


class Prometheus:
    """Ask a Prometheus.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.begun = time.time()

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Return the data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        url = f"{self.url}/api/v1/{path}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - only on loopback
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def ready(self) -> bool:
        """Tell whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310 - only on loopback
                return bool(answer.status == 200)
        except OSError:
            return False

    def value(self, expr: str) -> float:
        """Return the sum of what a query gave last; a scrape that was late may hide it now."""
        query = f"last_over_time(({expr})[{BORNE}:{INTERVAL}])"
        return sum(float(found["value"][1]) for found in self.ask("query", query=query)["result"])

    def series(self, expr: str) -> int:
        """Return how many series a query gives over the whole run, as a dashboard asks."""
        span = {"start": self.begun, "end": time.time(), "step": STEP}
        return len(self.ask("query_range", query=expr, **span)["result"])

    def names(self) -> set[str]:
        """Return the names of all metrics there are."""
        return set(self.ask("label/__name__/values"))

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules and how they fare."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


def configuration(place: Path) -> Path:
    """Write our configuration with shorter intervals; return its path."""
    conf = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    conf["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    conf["rule_files"] = [str(path) for path in RULES]
    found = conf["scrape_configs"][0]["file_sd_configs"][0]
    found["files"] = [str(place / "targets" / "*.json")]
    found["refresh_interval"] = INTERVAL
    path = place / "prometheus.yml"
    path.write_text(yaml.safe_dump(conf))
    return path


@contextmanager
def started(place: Path) -> Iterator[Prometheus]:
    """Run a Prometheus below a directory; targets are linked into its `targets/`."""
    program = shutil.which("prometheus")
    assert program is not None
    (place / "targets").mkdir()
    with lent_port() as port, (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={configuration(place)}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(30)


def metrics_in(expr: str) -> set[str]:
    """Return the names of our metrics in an expression, those of recording rules left out."""
    bare = re.sub(r'"[^"]*"', "", expr)
    return set(re.findall(r"(?<![\w:])(?:batchpilot|process)_\w+(?![\w:])", bare))
