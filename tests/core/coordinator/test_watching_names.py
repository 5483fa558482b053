"""The catalogue: names that Prometheus' own rules ask for, and the page that lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchpilot.coordinator.watching.catalogue import CATALOGUE, PREFIX, Metric, Type
from batchpilot.coordinator.watching.totals import BOUNDS


PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
UNITS = ("seconds", "bytes", "ratio", "total", "info")
COUNTS = {
    f"{PREFIX}{what}"
    for what in (
        "jobs",
        "queue_depth",
        "queue_chunks",
        "agents",
        "agent_slots",
        "pool_wanted_agents",
        "coordinator_events_pending",
        "coordinator_term",
        "broker_up",
        "broker_clients",
        "registry_files",
    )
}
"""Gauges of things, which have no unit."""

BOUNDED = {
    "version", "python", "rq_version", "state", "outcome", "class", "reason", "pool", "kind",
    "command", "what", "component",
}  # fmt: skip


def ids(metric: Metric) -> str:
    return metric.name


@pytest.mark.parametrize("metric", CATALOGUE, ids=ids)
def test_a_name_is_one_prefix_words_and_a_base_unit(metric: Metric) -> None:
    assert re.fullmatch(r"batchpilot(_[a-z]+)+", metric.name)
    assert metric.name.endswith(tuple(f"_{unit}" for unit in UNITS)) or metric.name in COUNTS


@pytest.mark.parametrize("metric", CATALOGUE, ids=ids)
def test_only_counters_end_in_total(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.type is Type.COUNTER)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created"))


@pytest.mark.parametrize("metric", CATALOGUE, ids=ids)
def test_labels_are_bounded_and_name_no_job_agent_host_or_user(metric: Metric) -> None:
    assert set(metric.labels) <= BOUNDED
    assert "_by_" not in metric.name


@pytest.mark.parametrize("metric", CATALOGUE, ids=ids)
def test_the_help_is_a_sentence(metric: Metric) -> None:
    assert metric.text[0].isupper()
    assert metric.text.endswith(".")


def test_no_name_is_there_twice() -> None:
    names = [metric.name for metric in CATALOGUE]

    assert len(names) > 30
    assert len(set(names)) == len(names)


def test_every_histogram_and_nothing_else_has_buckets_that_grow() -> None:
    histograms = {metric.name for metric in CATALOGUE if metric.type is Type.HISTOGRAM}

    assert set(BOUNDS) == histograms
    assert all(list(bounds) == sorted(set(bounds)) for bounds in BOUNDS.values())


def test_the_page_lists_what_is_exported() -> None:
    rows = [
        f"| `{metric.name}` | {metric.type} | "
        f"{', '.join(f'`{label}`' for label in metric.labels) or '-'} | {metric.text} |"
        for metric in CATALOGUE
    ]

    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `batchpilot_")]
    assert listed == rows
