"""Why a job is where it is, in words: the nouns that `batchpilot why` tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What keeps a job where it is, or has brought it there."""

    NOT_SUBMITTED = "not-submitted"
    QUEUED = "queued"
    WAITING = "waiting"
    CLAIMED = "claimed"
    IN_SESSION = "in-session"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    EXPIRED = "expired"
    NO_COORDINATOR = "no-coordinator"
    NO_POOL = "no-pool"
    AGENTS_STOPPED = "agents-stopped"
    POOL_PAUSED = "pool-paused"
    LAUNCH_FAILED = "launch-failed"
    AGENTS_QUEUED = "agents-queued"
    AGENTS_ELSEWHERE = "agents-elsewhere"
    AGENTS_TOO_SMALL = "agents-too-small"
    AGENTS_OUT_OF_TIME = "agents-out-of-time"
    AGENTS_LEAVING = "agents-leaving"
    NO_AGENT = "no-agent"
    AGENTS_BUSY = "agents-busy"
    LIMIT = "limit"
    AGENT_GONE = "agent-gone"
    HANDED_BACK = "handed-back"
    LOST = "lost"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Hold one reason.

    Attributes:
        cause: Its kind.
        text: It in words.
        remedy: What can be done about it, "" where nothing is to be done.
    """

    cause: Cause
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Hold why a job is where it is.

    Attributes:
        job: The job.
        state: Its state, in the words of the command line.
        reasons: The reasons, that for its state first, then what stands in its way, then its past.
    """

    job: int
    state: str
    reasons: tuple[Reason, ...]
