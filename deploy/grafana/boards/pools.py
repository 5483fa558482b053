"""Pool by pool: are the agents there that are wanted, and does what starts them answer."""

from __future__ import annotations

from .panels import (
    BAD,
    GOOD,
    IN_POOL,
    MINE,
    RATE,
    WARN,
    Look,
    Panel,
    Query,
    dashboard,
    grown,
    lines,
    over,
    quantiles,
    stat,
)


def pools() -> Panel:
    """Return the dashboard."""
    rows = {
        "Are they there?": _supply(),
        "What do they do?": _life(),
        "What starts them": _schedulers(),
        "What waits for them": _queues(),
    }
    text = "Pool by pool: the agents wanted and there, what starts them, and what waits for them."
    return dashboard("batchpilot-pools", "batchpilot / pools", text, rows, pools=True)


def _supply() -> list[Panel]:
    wanted = over("sum", "batchpilot_pool_wanted_agents", match=IN_POOL).expr
    there = over("sum", "batchpilot_agents", match=IN_POOL).expr
    small = {"width": 6, "height": 4}
    return [
        stat(
            "Agents wanted",
            "What the unfinished jobs call for, at most what the pools allow; 0 without jobs.",
            Query(wanted, "wanted"),
            Look(unit="short", **small),
        ),
        stat(
            "Agents missing",
            "0 soon after a start. Lasting: the batch system is full, or agents fail to start.",
            Query(f"clamp_min({wanted} - ({there} or vector(0)), 0)", "missing"),
            Look(unit="short", **small, thresholds={None: GOOD, 1: WARN}),
        ),
        stat(
            "Failed to start",
            "0. `batchpilot agents list` shows the last words of the last one.",
            grown(
                "increase", "batchpilot_agent_launch_failures_total", match=IN_POOL, legend="failed"
            ),
            Look(unit="short", **small, decimals=0, thresholds={None: GOOD, 1: WARN, 5: BAD}),
        ),
        stat(
            "Lost",
            "0. Agents that went without a word: killed, out of memory, or their node is down.",
            Query(
                f'sum(increase(batchpilot_agents_ended_total{{{IN_POOL}, reason="lost"}}{RATE}))',
                "lost",
            ),
            Look(unit="short", **small, decimals=0, thresholds={None: GOOD, 1: WARN, 5: BAD}),
        ),
        lines(
            "Wanted and there",
            "The two meet; a gap that stays is explained by the panels below.",
            [
                over(
                    "sum",
                    "batchpilot_pool_wanted_agents",
                    by="pool",
                    match=IN_POOL,
                    legend="{{pool}} wanted",
                ),
                over("sum", "batchpilot_agents", by="pool", match=IN_POOL, legend="{{pool}} there"),
            ],
            Look(unit="short"),
        ),
        lines(
            "Agents by state",
            "Busy while there is work, idle for some minutes behind it; starting for seconds.",
            over(
                "sum",
                "batchpilot_agents",
                by="pool, kind, state",
                match=IN_POOL,
                legend="{{pool}} ({{kind}}) {{state}}",
            ),
            Look(unit="short", stacked=True),
        ),
    ]


def _life() -> list[Panel]:
    return [
        lines(
            "Slots by state",
            "All busy while jobs wait. Idle ones then: jobs ask for more than is left of an agent.",
            over("sum", "batchpilot_agent_slots", by="pool, state", match=IN_POOL),
            Look(unit="short", width=8, stacked=True),
        ),
        lines(
            "Came",
            "A burst at the start of a study; a steady stream means that agents do not last.",
            grown(
                "increase",
                "batchpilot_agents_started_total",
                by="pool, kind",
                match=IN_POOL,
                legend="{{pool}} ({{kind}})",
            ),
            Look(unit="short", width=8),
        ),
        lines(
            "Went",
            "`left` at the end of the work or of an allocation; `lost` hardly ever.",
            grown("increase", "batchpilot_agents_ended_total", by="pool, reason", match=IN_POOL),
            Look(unit="short", width=8),
        ),
    ]


def _schedulers() -> list[Panel]:
    return [
        lines(
            "Calls of what starts agents",
            "Few, also with thousands of agents: one query a minute for all of them. `failed`: its "
            "words are in the coordinator's log.",
            grown("rate", "batchpilot_scheduler_calls_total", by="kind, command, outcome"),
            Look(unit="cps", width=8),
        ),
        lines(
            "Duration of those calls",
            "Below a second. A scheduler that takes tens of seconds is overloaded; be gentle.",
            [
                Query(
                    "histogram_quantile(0.95, sum by (le, kind, command) "
                    f"(rate(batchpilot_scheduler_call_duration_seconds_bucket{{{MINE}}}{RATE})))",
                    "{{kind}} {{command}} 95 % within",
                )
            ],
            Look(unit="s", width=8),
        ),
        lines(
            "Failed to start, by pool",
            "0. A pool that fails is tried again after pauses that grow to a minute.",
            grown(
                "increase",
                "batchpilot_agent_launch_failures_total",
                by="pool, kind",
                match=IN_POOL,
                legend="{{pool}} ({{kind}}) failed",
            ),
            Look(unit="short", width=8),
        ),
    ]


def _queues() -> list[Panel]:
    return [
        lines(
            "Waiting jobs by class",
            "Falls. A class that does not, while others do, fits no agent that is there.",
            over("sum", "batchpilot_queue_depth", by="class"),
            Look(unit="short", width=8, stacked=True),
        ),
        lines(
            "Longest wait by class",
            "Hours on full clusters; it grows without end where no agent fits.",
            Query(
                "max by (class) "
                f"(time() - batchpilot_queue_oldest_job_timestamp_seconds{{{MINE}}})"
                " or vector(0)",
                "{{class}}",
            ),
            Look(unit="s", width=8),
        ),
        lines(
            "Chunks at the broker by class",
            "Some per slot while jobs wait: what agents take next, also without a coordinator.",
            over("sum", "batchpilot_queue_chunks", by="class"),
            Look(unit="short", width=8),
        ),
        lines(
            "Handed to the broker by class",
            "As many jobs as end; chunks are few where jobs are short.",
            [
                grown("rate", "batchpilot_jobs_fed_total", by="class", legend="{{class}} jobs"),
                grown("rate", "batchpilot_chunks_fed_total", by="class", legend="{{class}} chunks"),
            ],
            Look(unit="cps", width=8),
        ),
        lines(
            "Time in the queue by class",
            "Alike for classes of one pool and priority.",
            quantiles("batchpilot_job_queue_wait_seconds", by="class"),
            Look(unit="s", width=8),
        ),
        lines(
            "Peak memory of jobs",
            "Of jobs submitted with measure_memory; ask for little more than the 95 %.",
            quantiles("batchpilot_job_peak_memory_bytes", by="outcome"),
            Look(unit="bytes", width=8),
        ),
    ]
