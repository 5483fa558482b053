"""Exposition: a snapshot, totals and sizes as the families that Prometheus reads.

Nothing is computed or looked up here that grows with jobs: a scrape costs what its text costs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from . import catalogue as c
from .sizes import Sizes
from .snapshot import Snapshot
from .totals import BOUNDS, Labels, Totals


Series = Iterable[tuple[Labels, float]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """Hold all that a scrape shows.

    Attributes:
        snapshot: The gauges.
        totals: The counters and histograms, as written down in the registry.
        sizes: The registry's files.
    """

    snapshot: Snapshot = field(default_factory=Snapshot)
    totals: Totals = field(default_factory=Totals)
    sizes: Sizes = field(default_factory=Sizes)


class Exposition(Collector):
    """Turn what is exposed into text.

    Args:
        registry: Value of the label `registry`.
        exposed: Gives what is to be shown.
    """

    def __init__(self, registry: str, exposed: Callable[[], Exposed]) -> None:
        self._label = registry
        self._exposed = exposed
        self._prometheus = CollectorRegistry(auto_describe=False)
        self._prometheus.register(self)
        ProcessCollector(registry=self._prometheus)

    def text(self) -> bytes:
        """Return the text of a scrape."""
        return generate_latest(self._prometheus)

    def collect(self) -> Iterator[Family]:
        """Yield all families."""
        exposed = self._exposed()
        gauges = _gauges(exposed)
        for metric in c.CATALOGUE:
            if metric.type is c.Type.GAUGE:
                yield self._gauge(metric, gauges[metric.name])
            elif metric.type is c.Type.COUNTER:
                yield self._counter(metric, exposed.totals)
            else:
                yield self._histogram(metric, exposed.totals)

    def _labels(self, metric: c.Metric) -> list[str]:
        return ["registry", *metric.labels]

    def _gauge(self, metric: c.Metric, series: Series) -> Family:
        family = GaugeMetricFamily(metric.name, metric.text, labels=self._labels(metric))
        for labels, value in series:
            family.add_metric([self._label, *labels], value)
        return family

    def _counter(self, metric: c.Metric, totals: Totals) -> Family:
        family = CounterMetricFamily(metric.name, metric.text, labels=self._labels(metric))
        for labels, value in totals.counters_of(metric):
            family.add_metric([self._label, *labels], value)
        return family

    def _histogram(self, metric: c.Metric, totals: Totals) -> Family:
        family = HistogramMetricFamily(metric.name, metric.text, labels=self._labels(metric))
        bounds = [str(float(bound)) for bound in BOUNDS[metric.name]] + ["+Inf"]
        for labels, known in totals.histograms_of(metric):
            buckets = list(zip(bounds, accumulate(known.counts.tolist()), strict=True))
            family.add_metric([self._label, *labels], buckets, known.total)
        return family


@cache
def build() -> Labels:
    """Return the versions in use: batchpilot's, Python's, RQ's."""
    python = ".".join(map(str, sys.version_info[:3]))
    return version("batchpilot"), python, version("rq")


def _gauges(exposed: Exposed) -> dict[str, Series]:
    snapshot = exposed.snapshot
    return {
        c.BUILD_INFO.name: [(build(), 1)],
        c.JOBS.name: _jobs(snapshot),
        **_queues(snapshot),
        **_agents(snapshot),
        c.LAST_SNAPSHOT.name: [((), snapshot.at)],
        c.TERM.name: [((), snapshot.term)],
        **_broker(snapshot),
        **_files(exposed.sizes),
    }


def _jobs(snapshot: Snapshot) -> Series:
    status = snapshot.status
    counts = {state: getattr(status, state, 0) for state in c.JOB_STATES}
    counts["not_submitted"] = status.defined - status.submitted
    return [((state,), number) for state, number in counts.items()]


def _queues(snapshot: Snapshot) -> dict[str, Series]:
    waiting = snapshot.waiting.items()
    return {
        c.QUEUE_DEPTH.name: [((name,), queue.jobs) for name, queue in waiting],
        c.QUEUE_CHUNKS.name: [((name,), queue.chunks) for name, queue in waiting],
        c.QUEUE_OLDEST.name: [
            ((name,), queue.oldest) for name, queue in waiting if queue.oldest is not None
        ],
    }


def _agents(snapshot: Snapshot) -> dict[str, Series]:
    agents = {(*where, state): 0 for where in snapshot.slots for state in c.AGENT_STATES}
    agents |= {(*where, state): number for (where, state), number in snapshot.agents.items()}
    return {
        c.AGENTS.name: agents.items(),
        c.SLOTS.name: [
            ((*where, state), number)
            for where, counts in snapshot.slots.items()
            for state, number in zip(c.SLOT_STATES, counts, strict=True)
        ],
        c.WANTED.name: snapshot.wanted.items(),
    }


def _broker(snapshot: Snapshot) -> dict[str, Series]:
    broker, backlog = snapshot.broker, snapshot.backlog
    return {
        c.BROKER_UP.name: [((), int(broker.up))],
        c.BROKER_MEMORY.name: [((), broker.memory_bytes)] if broker.up else [],
        c.BROKER_CLIENTS.name: [((), broker.clients)] if broker.up else [],
        c.EVENT_LAG.name: [] if backlog is None else [((), backlog.oldest_seconds)],
        c.EVENTS_PENDING.name: [] if backlog is None else [((), backlog.events)],
    }


def _files(sizes: Sizes) -> dict[str, Series]:
    parts = sizes.parts.items() if sizes.at else ()
    return {
        c.REGISTRY_SIZE.name: [((name,), size) for name, (size, _) in parts],
        c.REGISTRY_FILES.name: [((name,), files) for name, (_, files) in parts],
        c.FREE.name: [((), sizes.free)] if sizes.at else [],
        c.CAPACITY.name: [((), sizes.capacity)] if sizes.at else [],
        c.BACKUP.name: [((), sizes.backup)] if sizes.backup else [],
        c.MEASURED.name: [((), sizes.at)] if sizes.at else [],
    }
