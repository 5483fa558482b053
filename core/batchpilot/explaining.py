"""Why a job is where it is: from the registry alone, so that nothing needs to run, and no guess.

The reason for the job's state comes first, then what stands in its way, then its past.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .durations import duration
from .hindrances import hindrances
from .reasons import Cause, Explanation, Reason
from .registry.failures import Failures
from .registry.whole import Registry
from .store.database import Transaction
from .store.gates import Gate, read_gate
from .store.losses import losses_of
from .store.outcomes import Located, find_records
from .store.pages import Column, State
from .store.queueing import Position, position_of
from .store.retrying import Failure, tries_of


WORDS = {
    State.DEFINED: "not-submitted",
    State.QUEUED: "queued",
    State.FED: "queued",
    State.RUNNING: "running",
    State.DONE: "done",
    State.ERROR: "error",
    State.EXPIRED: "expired",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """Hold what the database says of a job, read in one transaction."""

    job: int
    state: State
    attempt: int
    floor: int
    charged: int
    planned: int
    submitted: float
    class_id: str
    position: Position | None
    gate: Gate | None
    tries: list[Failure]
    running: tuple[Any, ...] | None
    end: Located

    @classmethod
    def of(cls, tx: Transaction, job: int) -> _Facts:
        ids = np.array([job])

        def value(column: Column) -> int:
            return int(tx.pages.take(column, ids)[0])

        state = State(value("state"))
        submission = value("submission")
        row = tx.execute("read_submission", submission).fetchone() or (0.0, "")
        waits = state in (State.QUEUED, State.FED)
        return cls(
            job=job,
            state=state,
            attempt=value("attempt"),
            floor=value("floor"),
            charged=value("charged"),
            planned=value("planned"),
            submitted=row[0],
            class_id=row[1],
            position=position_of(tx, job, row[1]) if waits else None,
            gate=read_gate(tx, submission) if waits else None,
            tries=tries_of(tx, submission),
            running=tx.execute("running_job", job).fetchone(),
            end=find_records(tx, ids),
        )


def explain(registry: Registry, job: int, now: float | None = None) -> Explanation:
    """Return why a job is where it is.

    Args:
        registry: The registry; open for reading is enough.
        job: An existing job.
        now: Unix time.
    """
    now = time.time() if now is None else now
    with registry.database.read() as tx:
        facts = _Facts.of(tx, job)
    reasons = [*_present(registry, facts, now), *_past(registry, facts)]
    return Explanation(job=job, state=WORDS[facts.state], reasons=tuple(reasons))


def _present(registry: Registry, facts: _Facts, now: float) -> Iterator[Reason]:
    match facts.state:
        case State.DEFINED:
            yield _not_submitted(registry, facts)
        case State.QUEUED if facts.gate is not None and not facts.gate.open:
            yield _waiting(facts.gate, now - facts.submitted)
            yield from hindrances(registry, facts.class_id, now, waiting=True)
        case State.QUEUED | State.FED:
            yield _queued(facts, now)
            yield from hindrances(registry, facts.class_id, now)
        case State.RUNNING:
            yield _running(registry, facts, now)
            yield from hindrances(registry, facts.class_id, now, running_at=_agent(facts))
        case _:
            yield _ended(registry, facts)


def _not_submitted(registry: Registry, facts: _Facts) -> Reason:
    before = ""
    if facts.attempt:
        before = f"; its attempts up to {facts.attempt} were revoked (killed, reset, or of a copy)"
    return Reason(
        cause=Cause.NOT_SUBMITTED,
        text=f"it is not submitted{before}",
        remedy=f"batchpilot submit {registry.file_dir} {facts.job}",
    )


def _waiting(gate: Gate, seconds: float) -> Reason:
    since = f"submitted {duration(seconds)} ago"
    if gate.failed:
        text = f"{since}, and about to expire: predecessor {gate.failed} failed"
    else:
        more = f" and {len(gate.left) - 1} more" if len(gate.left) > 1 else ""
        text = f"{since}, waits for predecessor {gate.left[0]}{more}"
    return Reason(cause=Cause.WAITING, text=text)


def _queued(facts: _Facts, now: float) -> Reason:
    position = facts.position or Position()
    since = f"submitted {duration(now - facts.submitted)} ago"
    if not position.placed:
        return Reason(cause=Cause.QUEUED, text=f"{since}, and in no chunk yet")
    if not position.agent:
        return Reason(cause=Cause.QUEUED, text=f"{since}, {_behind(position, 'of its class')}")
    begun = position.begun
    chunk = "not begun" if begun is None else f"begun {duration(now - begun)} ago"
    return Reason(
        cause=Cause.CLAIMED,
        text=f"{since}, claimed by agent {position.agent} in a chunk {chunk}, "
        f"{_behind(position, 'there')}",
    )


def _behind(position: Position, where: str) -> str:
    if not position.ahead:
        return f"next {where}"
    return f"behind {'1 job' if position.ahead == 1 else f'{position.ahead} jobs'} {where}"


def _agent(facts: _Facts) -> str:
    return str(facts.running[0]) if facts.running else ""


def _running(registry: Registry, facts: _Facts, now: float) -> Reason:
    if facts.running is None:
        return Reason(cause=Cause.RUNNING, text=f"it runs, in attempt {facts.attempt}")
    agent, started, _ = facts.running
    return Reason(
        cause=Cause.RUNNING,
        text=f"it runs at agent {agent} for {duration(now - started)}, attempt {facts.attempt}",
        remedy=f"batchpilot log {registry.file_dir} {facts.job} -f",
    )


def _ended(registry: Registry, facts: _Facts) -> Reason:
    _, segment, end = next(facts.end.places())
    agent = (segment or "").removesuffix(".results")
    began, ended = float(end["started"]), float(end["ended"])
    ran = f"ran {duration(ended - began)}, attempt {int(end['attempt'])}"
    where = f"{ran}, at agent {agent}" if not agent.startswith("coordinator-") else ""
    if facts.state is State.DONE:
        return Reason(cause=Cause.DONE, text=f"it is done: {where}")
    with Failures(registry.paths, registry.database) as failures:
        said = " ".join(next(failures.of(facts.end)).summary.split())
    cause = Cause.ERROR if facts.state is State.ERROR else Cause.EXPIRED
    verb = "its function raised" if cause is Cause.ERROR else "it expired:"
    return Reason(
        cause=cause,
        text=f"{verb} {said}" + (f" ({where})" if where else ""),
        remedy=f"batchpilot log {registry.file_dir} {facts.job}",
    )


def _past(registry: Registry, facts: _Facts) -> Iterator[Reason]:
    if facts.tries:
        times = "once" if len(facts.tries) == 1 else f"{len(facts.tries)} times"
        yield Reason(
            cause=Cause.RETRIED,
            text=f"tried again {times}, as retries allow, after: {', '.join(facts.tries)}",
        )
    if facts.planned:
        times = "once" if facts.planned == 1 else f"{facts.planned} times"
        yield Reason(
            cause=Cause.HANDED_BACK,
            text=f"handed back {times} by agents that had to go, which is not charged",
        )
    if facts.charged:
        known = losses_of(registry.paths, registry.database, facts.job, floor=facts.floor)
        whys = [f"attempt {loss.attempt} at agent {loss.agent}: {loss.why}" for loss in known]
        whys += ["with its agent"] * (facts.charged - len(known))
        times = "once" if facts.charged == 1 else f"{facts.charged} times"
        yield Reason(cause=Cause.LOST, text=f"lost {times} ({'; '.join(whys)})")
