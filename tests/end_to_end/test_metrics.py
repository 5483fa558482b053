"""What Prometheus sees of a run."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy

import batchpilot as bp
from batchpilot import control


def sometimes(i: int) -> int:
    if i == 3:
        raise ValueError(i)
    return i


def scraped(registry: bp.Registry) -> dict[tuple[str, str], float]:
    address = control.coordinator_status(registry.paths)["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    return {
        (
            sample.name,
            next((v for k, v in sample.labels.items() if k != "registry"), ""),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_on_loopback_count_the_jobs_of_a_run(make_study: MakeStudy, until: Until) -> None:
    registry = make_study()
    registry.batch_map(sometimes, i=range(10))
    registry.submit_jobs()
    registry.wait_for_jobs(progress=False)
    address = control.coordinator_status(registry.paths)["metrics"]
    until(lambda: scraped(registry)["batchpilot_jobs", "done"] == 9, 20)
    seen = scraped(registry)

    assert address.startswith("127.0.0.1:")
    assert seen["batchpilot_jobs", "error"] == 1
    assert seen["batchpilot_jobs_finished_total", "done"] == 9
    assert seen["batchpilot_jobs_finished_total", "error"] == 1
    assert seen["batchpilot_broker_up", ""] == 1
    assert sum(v for (name, _), v in seen.items() if name == "batchpilot_agents") == 1
