"""The first look: is it all right, how far are the jobs, who works."""

from __future__ import annotations

from typing import Final

from .panels import (
    BAD,
    COLOURS,
    GOOD,
    MINE,
    RATE,
    WARN,
    Look,
    Panel,
    Query,
    alerts,
    dashboard,
    grown,
    heat,
    lines,
    over,
    quantiles,
    stat,
)


_ENDED = grown("rate", "batchpilot_jobs_finished_total").expr
_FAILED = f'sum(rate(batchpilot_jobs_finished_total{{{MINE}, outcome=~"error|expired"}}{RATE}))'
_LEFT = f'sum(batchpilot_jobs{{{MINE}, state=~"queued|running"}})'
_BUSY = f'sum(batchpilot_agent_slots{{{MINE}, state="busy"}})'
_SLOTS = over("sum", "batchpilot_agent_slots").expr
_SMALL: Final = {"width": 4, "height": 4}


def overview() -> Panel:
    """Return the dashboard."""
    rows = {
        "Is it all right?": _lights(),
        "How far are the jobs?": [*_counts(), *_pace(), *_courses()],
        "How long do they take?": _times(),
        "Who works?": _workers(),
    }
    text = "Is it all right, how far are the jobs, who works; details are on the other two."
    return dashboard("batchpilot-overview", "batchpilot / overview", text, rows)


def _lights() -> list[Panel]:
    return [
        stat(
            "Broker",
            "Up. While it is down agents go on with what they hold, and nothing new is handed out.",
            over("min", "batchpilot_broker_up", legend="broker"),
            Look(
                unit="bool_on_off",
                **_SMALL,
                names={"0": "down", "1": "up"},
                thresholds={None: BAD, 1: GOOD},
            ),
        ),
        stat(
            "Coordinator: last look",
            "A few seconds. Minutes: it hangs, or has left, as it does on its own without jobs.",
            Query(
                f"max(time() - batchpilot_coordinator_last_snapshot_timestamp_seconds{{{MINE}}})",
                "age",
            ),
            Look(unit="s", **_SMALL, thresholds={None: GOOD, 30: WARN, 120: BAD}),
        ),
        stat(
            "Event lag",
            "Below a second. More: the registry's file system is slow, or there is too much to do.",
            over("max", "batchpilot_coordinator_event_lag_seconds", legend="lag"),
            Look(unit="s", **_SMALL, thresholds={None: GOOD, 10: WARN, 120: BAD}),
        ),
        stat(
            "Failed",
            "0 % where code is sound: the share of jobs that ended of late by error or expired.",
            Query(f"{_FAILED} / ({_ENDED} > 0) or vector(0)", "share"),
            Look(
                unit="percentunit",
                **_SMALL,
                high=1,
                thresholds={None: GOOD, 0.05: WARN, 0.2: BAD},
            ),
        ),
        stat(
            "Alerts that fire",
            "None. Each alert names its remedy in the runbook.",
            Query(
                'count(ALERTS{alertname=~"Batchpilot.*", alertstate="firing"}) or vector(0)',
                "firing",
            ),
            Look(unit="none", **_SMALL, thresholds={None: GOOD, 1: BAD}),
        ),
        stat(
            "Slots at work",
            "Near 100 % while jobs wait. Lower: agents start, jobs are very short, or few fit.",
            Query(f"{_BUSY} / ({_SLOTS} > 0) or vector(0)", "share"),
            Look(unit="percentunit", **_SMALL, high=1),
        ),
    ]


def _counts() -> list[Panel]:
    return [
        stat(
            "Waiting",
            "Jobs that were submitted and have not begun; falls while agents work.",
            Query(f'sum(batchpilot_jobs{{{MINE}, state="queued"}})', "queued"),
            Look(unit="short", **_SMALL, thresholds={None: COLOURS["queued"]}),
        ),
        stat(
            "Running",
            "At most the slots of all agents.",
            Query(f'sum(batchpilot_jobs{{{MINE}, state="running"}})', "running"),
            Look(unit="short", **_SMALL, thresholds={None: COLOURS["running"]}),
        ),
        stat(
            "Done",
            "Jobs with a result in the registry.",
            Query(f'sum(batchpilot_jobs{{{MINE}, state="done"}})', "done"),
            Look(unit="short", **_SMALL, thresholds={None: COLOURS["done"]}),
        ),
        stat(
            "Failed or expired",
            "0, or few. `batchpilot errors` groups them by what went wrong.",
            Query(f'sum(batchpilot_jobs{{{MINE}, state=~"error|expired"}})', "error"),
            Look(unit="short", **_SMALL, thresholds={None: GOOD, 1: WARN}),
        ),
    ]


def _pace() -> list[Panel]:
    return [
        stat(
            "Pace",
            "Jobs that ended per second, of late.",
            Query(_ENDED, "jobs"),
            Look(unit="suffix: jobs/s", decimals=1, **_SMALL),
        ),
        stat(
            "Time left",
            "At the pace of late; nothing to say while no job ends, 0 where none is left.",
            Query(f"{_LEFT} / ({_ENDED} > 0) or ({_LEFT} == 0) or vector(NaN)", "left"),
            Look(unit="s", **_SMALL),
        ),
    ]


def _courses() -> list[Panel]:
    return [
        lines(
            "Jobs by state",
            "Yellow turns into blue and green. Red or purple that grows: look at the errors.",
            Query(
                f'sum by (state) (batchpilot_jobs{{{MINE}, state!="not_submitted"}})',
                "{{state}}",
            ),
            Look(unit="short", stacked=True),
        ),
        lines(
            "Ended per second",
            "Even, while there is enough work; it falls at the end of a study.",
            grown("rate", "batchpilot_jobs_finished_total", by="outcome"),
            Look(unit="suffix: jobs/s", stacked=True),
        ),
    ]


def _times() -> list[Panel]:
    return [
        lines(
            "Time in the queue",
            "Seconds on warm pools; hours where batch systems are full. See the pools.",
            quantiles("batchpilot_job_queue_wait_seconds"),
            Look(unit="s", width=8),
        ),
        lines(
            "Run time by outcome",
            "As the study has it. Errors much shorter than the rest fail at their beginning.",
            quantiles("batchpilot_job_run_duration_seconds", by="outcome"),
            Look(unit="s", width=8),
        ),
        heat(
            "Run times",
            "One band a kind of job; a second band that appears is worth a look.",
            "batchpilot_job_run_duration_seconds",
            Look(unit="s", width=8, low=None),
        ),
    ]


def _workers() -> list[Panel]:
    return [
        lines(
            "Agents by pool and state",
            "Busy while jobs wait; they leave some minutes after the last job.",
            Query(
                f"sum by (pool, state) (batchpilot_agents{{{MINE}}}) > 0 or vector(0)",
                "{{pool}} {{state}}",
            ),
            Look(unit="short", width=8, stacked=True),
        ),
        lines(
            "Put back on the queue",
            "0, or single jobs. `agent_lost`: a node or memory failed; others are planned ends.",
            grown("increase", "batchpilot_jobs_requeued_total", by="reason"),
            Look(unit="short", width=8, stacked=True),
        ),
        alerts(
            "Alerts",
            "None. Needs the rules of deploy/prometheus/rules.",
            Look(unit="short", width=8),
        ),
    ]
