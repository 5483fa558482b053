"""The catalogue: every metric that a coordinator exports, once, with its labels and its help.

Everything else is made from it: what is exported, the table of `docs/metrics.md`, the tests of
names and dashboards. All metrics carry the label `registry`, too. No job, agent, host, user,
path or secret is ever a label; what users may name (pools) and what grows (classes) is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


PREFIX = "batchpilot_"


class Type(StrEnum):
    """How a metric counts."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """Hold what is known of a metric beforehand.

    Attributes:
        name: Its name in the exposition, `_total` included.
        type: How it counts.
        labels: Its labels besides `registry`.
        text: Its help.
        known: Values of the last label that are exported from the beginning, as 0.
    """

    name: str
    type: Type
    labels: tuple[str, ...]
    text: str
    known: tuple[str, ...] = ()


JOB_STATES = ("not_submitted", "queued", "running", "done", "error", "expired")
OUTCOMES = ("done", "error", "expired")
AGENT_STATES = ("starting", "idle", "busy", "draining")
SLOT_STATES = ("busy", "idle")
ENDINGS = ("left", "lost")
REQUEUE_REASONS = (
    "lost",
    "agent_lost",
    "agent_suspect",
    "handed_back",
    "walltime",
    "preempted",
    "drain",
    "audit",
    "unaccounted",
    "retry",
)
REJECTIONS = (
    "foreign",
    "forged",
    "version",
    "malformed",
    "late_row",
    "damaged_bytes",
    "malformed_note",
    "old_request",
)
COMPONENTS = ("database", "objects", "segments", "allocations", "logs", "backup")

_POOL = ("pool", "kind")


def _gauge(name: str, text: str, *labels: str, known: tuple[str, ...] = ()) -> Metric:
    return Metric(PREFIX + name, Type.GAUGE, labels, text, known)


def _counter(name: str, text: str, *labels: str, known: tuple[str, ...] = ()) -> Metric:
    return Metric(f"{PREFIX}{name}_total", Type.COUNTER, labels, text, known)


def _histogram(name: str, text: str, *labels: str, known: tuple[str, ...] = ()) -> Metric:
    return Metric(PREFIX + name, Type.HISTOGRAM, labels, text, known)


BUILD_INFO = _gauge("build_info", "Versions in use; always 1.", "version", "python", "rq_version")

JOBS = _gauge("jobs", "Jobs of the registry by what has become of them.", "state", known=JOB_STATES)
JOBS_FINISHED = _counter(
    "jobs_finished", "Jobs that reached a final state.", "outcome", known=OUTCOMES
)
JOBS_FED = _counter("jobs_fed", "Jobs handed to the broker, again and again included.", "class")
CHUNKS_FED = _counter("chunks_fed", "Chunks handed to the broker.", "class")
JOBS_REQUEUED = _counter(
    "jobs_requeued", "Jobs put back on the queue.", "reason", known=REQUEUE_REASONS
)
QUEUE_WAIT = _histogram(
    "job_queue_wait_seconds", "Time from submission to start of jobs that ended.", "class"
)
RUN_DURATION = _histogram(
    "job_run_duration_seconds",
    "Time from start to end of jobs that ended.",
    "outcome",
    known=OUTCOMES,
)
PEAK_MEMORY = _histogram(
    "job_peak_memory_bytes",
    "Peak memory of jobs submitted with measure_memory.",
    "outcome",
    known=OUTCOMES,
)

QUEUE_DEPTH = _gauge("queue_depth", "Jobs that wait for an agent, fed or not.", "class")
QUEUE_CHUNKS = _gauge("queue_chunks", "Chunks at the broker that no agent has claimed.", "class")
QUEUE_OLDEST = _gauge(
    "queue_oldest_job_timestamp_seconds",
    "When the job that waits longest was submitted; absent where none waits.",
    "class",
)

AGENTS = _gauge("agents", "Live agents.", *_POOL, "state", known=AGENT_STATES)
SLOTS = _gauge("agent_slots", "Slots of live agents.", *_POOL, "state", known=SLOT_STATES)
WANTED = _gauge(
    "pool_wanted_agents", "Agents that a pool should have for the work there is.", *_POOL
)
AGENTS_STARTED = _counter("agents_started", "Agents that registered.", *_POOL)
AGENTS_ENDED = _counter(
    "agents_ended", "Agents that left or were lost.", *_POOL, "reason", known=ENDINGS
)
LAUNCH_FAILURES = _counter("agent_launch_failures", "Agents that did not come to work.", *_POOL)
SCHEDULER_CALLS = _counter(
    "scheduler_calls",
    "Calls that start, look for or cancel agents.",
    "kind",
    "command",
    "outcome",
    known=("ok", "failed"),
)
SCHEDULER_SECONDS = _histogram(
    "scheduler_call_duration_seconds",
    "Duration of the calls that start, look for or cancel agents.",
    "kind",
    "command",
)

EVENT_LAG = _gauge("coordinator_event_lag_seconds", "Age of the oldest event not yet applied.")
EVENTS_PENDING = _gauge("coordinator_events_pending", "Events not yet applied.")
EVENTS_APPLIED = _counter("coordinator_events_applied", "Events of agents that were applied.")
EVENTS_REJECTED = _counter(
    "coordinator_events_rejected",
    "Messages, rows and damaged stretches that were ignored.",
    "what",
    known=REJECTIONS,
)
APPLY_SECONDS = _histogram(
    "coordinator_apply_duration_seconds", "Duration of a transaction that applies events."
)
LAST_SNAPSHOT = _gauge(
    "coordinator_last_snapshot_timestamp_seconds", "When these figures were taken."
)
TERM = _gauge("coordinator_term", "Number of the coordinator's term.")

BROKER_UP = _gauge("broker_up", "Whether the broker answers, 1 or 0.")
BROKER_ROUNDTRIP = _histogram("broker_roundtrip_seconds", "Round trip to the broker and back.")
BROKER_MEMORY = _gauge("broker_memory_bytes", "Memory that the broker's data take.")
BROKER_CLIENTS = _gauge("broker_clients", "Connections to the broker.")

REGISTRY_SIZE = _gauge(
    "registry_size_bytes", "Size of the registry's files.", "component", known=COMPONENTS
)
REGISTRY_FILES = _gauge(
    "registry_files", "Number of the registry's files.", "component", known=COMPONENTS
)
FREE = _gauge("registry_filesystem_free_bytes", "Free space on the registry's file system.")
CAPACITY = _gauge("registry_filesystem_size_bytes", "Size of the registry's file system.")
BACKUP = _gauge(
    "registry_backup_timestamp_seconds", "When the newest backup was made; absent before the first."
)
MEASURED = _gauge("registry_measured_timestamp_seconds", "When the registry's files were measured.")

CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
"""All metrics, in the order in which they are exported."""
