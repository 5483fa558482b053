"""The machinery: coordinator, broker, and the registry's place on disk."""

from __future__ import annotations

from .panels import (
    BAD,
    GOOD,
    MINE,
    RATE,
    WARN,
    Look,
    Panel,
    Query,
    dashboard,
    grown,
    heat,
    lines,
    over,
    quantiles,
    stat,
)


_OF_REGISTRY = f"on (instance, job) group_left (registry) batchpilot_build_info{{{MINE}}}"


def coordinator() -> Panel:
    """Return the dashboard."""
    rows = {
        "At a glance": _glance(),
        "Coordinator": _coordinator(),
        "Broker": _broker(),
        "Registry on disk": _disk(),
        "Process": _process(),
    }
    text = "The machinery: does the coordinator keep up, does the broker answer, is there space."
    return dashboard("batchpilot-coordinator", "batchpilot / coordinator and broker", text, rows)


def _glance() -> list[Panel]:
    small = {"width": 6, "height": 4}
    free = f"batchpilot_registry_filesystem_free_bytes{{{MINE}}}"
    size = f"batchpilot_registry_filesystem_size_bytes{{{MINE}}}"
    return [
        stat(
            "Version",
            "One; two while registries are served by different installations.",
            Query(
                f"count by (version, python, rq_version) (batchpilot_build_info{{{MINE}}})",
                "{{version}}, Python {{python}}, RQ {{rq_version}}",
            ),
            Look(unit="none", **small),
        ),
        stat(
            "Term",
            "Rises by one with each coordinator; often means that they die, see its log.",
            over("max", "batchpilot_coordinator_term", legend="term"),
            Look(unit="none", **small),
        ),
        stat(
            "Free space",
            "More than 10 %. A full disk stops everything, and loses nothing.",
            Query(f"min({free} / {size})", "free"),
            Look(
                unit="percentunit",
                high=1,
                **small,
                thresholds={None: BAD, 0.05: WARN, 0.1: GOOD},
            ),
        ),
        stat(
            "Last backup",
            "Minutes while jobs end: one in ten minutes of change. Nothing before the first.",
            Query(
                f"max(time() - batchpilot_registry_backup_timestamp_seconds{{{MINE}}})"
                " or vector(NaN)",
                "age",
            ),
            Look(unit="s", **small, thresholds={None: GOOD, 3600: WARN}),
        ),
    ]


def _coordinator() -> list[Panel]:
    return [
        lines(
            "Event lag",
            "Below a second. Minutes: agents finish faster than the registry can be written.",
            over("max", "batchpilot_coordinator_event_lag_seconds", by="registry"),
            Look(unit="s", width=8),
        ),
        lines(
            "Events pending",
            "Near 0; a heap that falls behind a restart is its backlog.",
            over("sum", "batchpilot_coordinator_events_pending", by="registry"),
            Look(unit="short", width=8),
        ),
        lines(
            "Events applied and rejected",
            "Some a second while jobs end. Rejected ones are stale or foreign; a stream is wrong.",
            [
                grown("rate", "batchpilot_coordinator_events_applied_total", legend="applied"),
                Query(
                    grown("rate", "batchpilot_coordinator_events_rejected_total", by="what").expr
                    + " or vector(0)",
                    "rejected {{what}}",
                ),
            ],
            Look(unit="cps", width=8),
        ),
        lines(
            "Time to apply events",
            "Milliseconds on local disks, tens of them on network file systems.",
            quantiles("batchpilot_coordinator_apply_duration_seconds"),
            Look(unit="s"),
        ),
        heat(
            "Times to apply events",
            "One band; a second, slow one is the file system.",
            "batchpilot_coordinator_apply_duration_seconds",
            Look(unit="s", low=None),
        ),
    ]


def _broker() -> list[Panel]:
    return [
        lines(
            "Up",
            "1. With 0 agents go on with what they hold; their results wait in segments.",
            over("min", "batchpilot_broker_up", by="registry"),
            Look(unit="short", width=6, high=1),
        ),
        lines(
            "Round trip",
            "Below a millisecond by socket, a few over the network.",
            quantiles("batchpilot_broker_roundtrip_seconds"),
            Look(unit="s", width=6),
        ),
        lines(
            "Memory of the broker",
            "At most some 64 MB a class: queues are fed just in time.",
            over("max", "batchpilot_broker_memory_bytes", by="registry"),
            Look(unit="bytes", width=6),
        ),
        lines(
            "Connections",
            "A few, and a few per agent.",
            over("max", "batchpilot_broker_clients", by="registry"),
            Look(unit="short", width=6),
        ),
    ]


def _disk() -> list[Panel]:
    return [
        lines(
            "Size by component",
            "Segments grow with the results; the rest stays small.",
            over("sum", "batchpilot_registry_size_bytes", by="component"),
            Look(unit="bytes", width=8, stacked=True),
        ),
        lines(
            "Files by component",
            "Grow with agents, never with jobs.",
            over("sum", "batchpilot_registry_files", by="component"),
            Look(unit="short", width=8, stacked=True),
        ),
        lines(
            "File system",
            "Free stays well above 0.",
            [
                over(
                    "min",
                    "batchpilot_registry_filesystem_free_bytes",
                    by="registry",
                    legend="{{registry}} free",
                ),
                over(
                    "max",
                    "batchpilot_registry_filesystem_size_bytes",
                    by="registry",
                    legend="{{registry}} size",
                ),
            ],
            Look(unit="bytes", width=8),
        ),
    ]


def _process() -> list[Panel]:
    return [
        lines(
            "Processor",
            "Below 0.01 cores idle, up to one at tens of thousands of jobs a second.",
            Query(
                f"rate(process_cpu_seconds_total{RATE}) * {_OF_REGISTRY}",
                "{{registry}}",
            ),
            Look(unit="suffix: cores", width=8),
        ),
        lines(
            "Memory of the coordinator",
            "Some 100 MB, and a few bytes a job.",
            Query(f"process_resident_memory_bytes * {_OF_REGISTRY}", "{{registry}}"),
            Look(unit="bytes", width=8),
        ),
        lines(
            "Open files",
            "Tens; growing without end is a fault worth a report.",
            Query(f"process_open_fds * {_OF_REGISTRY}", "{{registry}}"),
            Look(unit="short", width=8),
        ),
    ]
