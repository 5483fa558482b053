"""How an agent shows in RQ's tools: as a worker, in RQ's own words, without RQ."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from .nouns import AgentInfo


SHOWN_FOR = 600
"""Seconds a finished chunk stays visible."""

WORKER_SHOWN_FOR = 480
"""Seconds a worker stays visible after its last beat (RQ's own worker TTL and a minute)."""


def rq_time(seconds: float) -> str:
    """Return a unix time as RQ writes times.

    Example:
        >>> rq_time(0.5)
        '1970-01-01T00:00:00.500000Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def worker_fields(info: AgentInfo, queues: Iterable[str]) -> dict[str, str | int]:
    """Return what of the hash of the RQ worker that shows an agent does not change by beats."""
    return {
        "birth": rq_time(info.started),
        "queues": ",".join(queues),
        "pid": info.pid,
        "hostname": info.host,
        "ip_address": info.pool,
        "version": f"batchpilot {info.protocol[0]}.{info.protocol[1]}",
        "python_version": info.python,
    }


def worker_begins(info: AgentInfo) -> dict[str, str]:
    """Return what that hash says before the first beat."""
    return {"last_heartbeat": rq_time(info.started), "state": "idle"}
