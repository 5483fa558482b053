"""Metrics: what Prometheus scrapes, fed by the bus and the last snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, start_http_server
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from batchpilot_broker.nouns import Outcome

from .happenings import AgentEnded, Happening, JobsEnded, JobsRequeued, Rejected
from .measurer import Snapshot


_OUTCOMES = {Outcome.DONE: "done", Outcome.ERROR: "error"}


class Metrics(Collector):
    """Serve /metrics on loopback.

    Args:
        registry: Label that tells registries apart.
        snapshot: Gives the last snapshot.
    """

    def __init__(self, registry: str, snapshot: Callable[[], Snapshot]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # their function has no types
        self._label = registry
        self._snapshot = snapshot
        self._prometheus = CollectorRegistry()
        self._prometheus.register(self)
        self._finished = self._counter(
            "jobs_finished", "Jobs that reached a final state.", "outcome"
        )
        self._requeued = self._counter("jobs_requeued", "Jobs put back on the queue.", "reason")
        self._ended = self._counter("agents_ended", "Agents that left or were lost.", "reason")
        self._rejected = self._counter("events_rejected", "Messages and rows ignored.", "what")
        for outcome in ("done", "error", "expired"):
            self._finished.labels(registry, outcome)

    def serve(self, port: int = 0) -> str:
        """Listen on loopback and return the address, "127.0.0.1:port"."""
        server, _ = start_http_server(port, addr="127.0.0.1", registry=self._prometheus)
        return f"127.0.0.1:{server.server_port}"

    def __call__(self, happening: Happening) -> None:
        """Count a happening."""
        match happening:
            case JobsEnded(rows):
                for outcome in rows["outcome"].tolist():
                    self._finished.labels(self._label, _OUTCOMES.get(outcome, "expired")).inc()
            case JobsRequeued(reason, jobs):
                self._requeued.labels(self._label, reason).inc(jobs)
            case AgentEnded(_, _, reason):
                self._ended.labels(self._label, reason).inc()
            case Rejected(what, count):
                self._rejected.labels(self._label, what.split(" in ")[0]).inc(count)
            case _:
                pass

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges that are made from the snapshot."""
        snapshot = self._snapshot()
        info = InfoMetricFamily("batchpilot_build", "Build facts.", labels=["registry"])
        info.add_metric([self._label], {"version": version("batchpilot")})
        yield info
        jobs = self._gauge("jobs", "Jobs by current state.", "state")
        for state, number in snapshot.status.as_dict().items():
            jobs.add_metric([self._label, state], number)
        yield jobs
        agents = self._gauge("agents", "Live agents.", "pool", "state")
        for (pool, state), number in snapshot.agents.items():
            agents.add_metric([self._label, pool, state], number)
        yield agents
        slots = self._gauge("agent_slots", "Execution slots of live agents.", "state")
        slots.add_metric([self._label, "busy"], snapshot.slots[0])
        slots.add_metric([self._label, "idle"], max(0, snapshot.slots[1] - snapshot.slots[0]))
        yield slots
        up = self._gauge("broker_up", "1 while the broker answers.")
        up.add_metric([self._label], int(snapshot.broker.up))
        yield up

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"batchpilot_{name}", text, ["registry", label], registry=self._prometheus)

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"batchpilot_{name}", text, labels=["registry", *labels])
