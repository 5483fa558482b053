"""Totals: counters and histograms that outlive the coordinator, as one small record.

A histogram takes an array of values at once; nothing here loops over jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .catalogue import (
    APPLY_SECONDS,
    BROKER_ROUNDTRIP,
    CATALOGUE,
    PEAK_MEMORY,
    QUEUE_WAIT,
    RUN_DURATION,
    SCHEDULER_SECONDS,
    Metric,
    Type,
)


MOST_VALUES = 20
OTHER = "other"

_HOUR = 3600.0
_LONG = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, _HOUR)
_DAYS = tuple(hours * _HOUR for hours in (2, 4, 12, 24, 72))
_SHORT = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60)

BOUNDS: Mapping[str, tuple[float, ...]] = {
    RUN_DURATION.name: (*_LONG, *_DAYS),
    QUEUE_WAIT.name: (*_LONG, *_DAYS),
    PEAK_MEMORY.name: tuple(float(64 << (20 + k)) for k in range(13)),
    APPLY_SECONDS.name: _SHORT,
    BROKER_ROUNDTRIP.name: _SHORT,
    SCHEDULER_SECONDS.name: _SHORT,
}
"""Upper bounds of the buckets of each histogram, +Inf left out."""

Labels = tuple[str, ...]
Key = tuple[str, Labels]
Floats = NDArray[np.float64]


@dataclass(slots=True)
class Histogram:
    """Count values by bucket.

    Attributes:
        counts: Values in each bucket, the last one unbounded; not cumulative.
        total: Their sum.
    """

    counts: NDArray[np.int64]
    total: float = 0.0

    def copy(self) -> Histogram:
        """Return one that stays as it is now."""
        return Histogram(self.counts.copy(), self.total)


@dataclass(slots=True)
class Totals:
    """Hold all counters and histograms by metric and labels.

    Attributes:
        upto: Number of the last row of the registry's table of outcomes that was counted.
    """

    upto: int = 0
    counters: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, Histogram] = field(default_factory=dict)
    _values: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Totals:
        """Return the totals of a record; what this version does not know is left out."""
        totals = cls(upto=int(record.get("upto", 0)))
        for label, values in record.get("values", {}).items():
            totals._values[label] = set(values)
        for name, labels, value in record.get("counters", ()):
            totals.counters[name, tuple(labels)] = value
        for name, labels, total, counts in record.get("histograms", ()):
            if len(counts) == len(BOUNDS.get(name, ())) + 1:
                known = Histogram(np.array(counts, np.int64), total)
                totals.histograms[name, tuple(labels)] = known
        totals.begin()
        return totals

    def record(self) -> dict[str, Any]:
        """Return what JSON keeps."""
        return {
            "upto": self.upto,
            "values": {label: sorted(values) for label, values in self._values.items()},
            "counters": [[name, labels, value] for (name, labels), value in self.counters.items()],
            "histograms": [
                [name, labels, known.total, known.counts.tolist()]
                for (name, labels), known in self.histograms.items()
            ],
        }

    def begin(self) -> None:
        """Bring into being, as 0, what is known to come: a rate needs two samples."""
        for metric in CATALOGUE:
            if metric.type is not Type.GAUGE and len(metric.labels) <= 1:
                for labels in product(*[metric.known] * len(metric.labels)):
                    self.add(metric, labels, 0)

    def add(self, metric: Metric, labels: Labels, number: float = 1) -> None:
        """Count."""
        if metric.type is Type.HISTOGRAM:
            self._histogram(metric, labels)
            return
        key = metric.name, labels
        self.counters[key] = self.counters.get(key, 0) + number

    def observe(self, metric: Metric, labels: Labels, values: Floats) -> None:
        """Put values into the buckets of a histogram; what is below 0 counts as 0."""
        known = self._histogram(metric, labels)
        values = np.maximum(values, 0.0)
        places = np.searchsorted(BOUNDS[metric.name], values)
        known.counts += np.bincount(places, minlength=len(known.counts))
        known.total += float(values.sum())

    def bounded(self, label: str, value: str) -> str:
        """Return a label's value, "other" where there are 20 others already."""
        known = self._values.setdefault(label, set())
        if value not in known:
            if len(known) >= MOST_VALUES:
                return OTHER
            known.add(value)
        return value

    def counters_of(self, metric: Metric) -> Iterator[tuple[Labels, float]]:
        """Yield labels and value of each series of a counter."""
        return ((key[1], value) for key, value in self.counters.items() if key[0] == metric.name)

    def histograms_of(self, metric: Metric) -> Iterator[tuple[Labels, Histogram]]:
        """Yield labels and buckets of each series of a histogram."""
        return ((key[1], value) for key, value in self.histograms.items() if key[0] == metric.name)

    def copy(self) -> Totals:
        """Return totals that stay as they are now."""
        return Totals(
            upto=self.upto,
            counters=dict(self.counters),
            histograms={key: known.copy() for key, known in self.histograms.items()},
            _values={label: set(values) for label, values in self._values.items()},
        )

    def _histogram(self, metric: Metric, labels: Labels) -> Histogram:
        key = metric.name, labels
        if key not in self.histograms:
            size = len(BOUNDS[metric.name]) + 1
            self.histograms[key] = Histogram(np.zeros(size, np.int64))
        return self.histograms[key]
