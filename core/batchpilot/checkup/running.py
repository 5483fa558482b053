"""Checks of what works for a registry: coordinator, broker, agents, and what was ignored."""

from __future__ import annotations

import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from batchpilot.durations import duration
from batchpilot.errors import BrokerError, RegistryError
from batchpilot.hindrances import silence_of
from batchpilot.seat import standing
from batchpilot.store.launches import failing, read_failures
from batchpilot.store.owner import Owner, read_owner
from batchpilot.store.snapshots import reading
from batchpilot_broker.errors import BrokerFull, StorageError
from batchpilot_broker.files import read_json
from batchpilot_broker.ignored import read_ignored
from batchpilot_broker.paths import RegistryPaths

from .finding import Finding, bad, note, ok


LATE = 30.0
PATIENCE = 3.0
_REJECTED = "batchpilot_coordinator_events_rejected"


def check_running(paths: RegistryPaths) -> Iterator[Finding]:
    """Yield what is found of coordinator, broker, agents and ignored messages."""
    try:
        owner, waiting = read_owner(paths), _unfinished(paths)
        failures = read_failures(paths)
    except (RegistryError, StorageError, sqlite3.DatabaseError) as error:
        yield bad("coordinator", f"cannot be judged: {error}", f"batchpilot repair {paths.root}")
        return
    now = time.time()
    yield _coordinator(paths, owner, waiting, now)
    yield from broker(paths, owner)
    for failure in failures:
        more = paths.root / failure.where if failure.where else paths.logs
        yield bad("agents", failing(failure, now), f"mend that; more is in {more}")
    if not failures:
        yield ok("agents", "none has failed to start of late")
    if owner.coordinator_alive and owner.metrics:
        yield _rejected(owner.metrics)


def _unfinished(paths: RegistryPaths) -> int:
    database = reading(paths)
    try:
        with database.read() as tx:
            return sum(int(n) for _, n in tx.all("unfinished_by_class"))
    finally:
        database.close()


def _coordinator(paths: RegistryPaths, owner: Owner, waiting: int, now: float) -> Finding:
    beat = duration(max(0.0, now - owner.heartbeat))
    silence = silence_of(owner, now)
    if not silence:
        text = f"process {owner.pid} on {owner.host}, last beat {beat} ago"
        late = now - owner.heartbeat > LATE
        remedy = f"see {paths.logs / 'coordinator.log'}; end it with `batchpilot coordinator stop`"
        return bad("coordinator", f"{text}: it hangs", remedy) if late else ok("coordinator", text)
    seat = standing(paths)
    if seat is not None:
        silence = f"the coordinator {seat.text}"
        if not seat.ended:
            return note("coordinator", silence)
    failure = read_json(paths.logs / "failure.json") if seat is None else None
    if failure is not None:
        return bad("coordinator", f"{silence}: {failure['message']}", str(failure["remedy"]))
    if waiting:
        return bad(
            "coordinator", f"{silence}, and {waiting} jobs wait", f"batchpilot wait {paths.root}"
        )
    return ok("coordinator", f"{silence}, and nothing is to be done")


def broker(paths: RegistryPaths, owner: Owner) -> Iterator[Finding]:
    """Tell whether the broker answers and takes writes, and what it has ignored."""
    if not owner.coordinator_alive and not paths.broker.exists():
        yield ok("broker", "there is none, and none is needed")
        return
    try:
        ignored = read_ignored(paths, owner.instance)
    except (BrokerError, StorageError) as error:
        remedy = error.remedy or "batchpilot broker start"
        if owner.coordinator_alive or isinstance(error, BrokerFull):
            yield bad("broker", error.message, remedy)
        else:
            yield ok("broker", "not running, as the coordinator")
        return
    yield ok("broker", f"{ignored.server} answers")
    if ignored.foreign or ignored.gone or ignored.forged:
        yield note(
            "messages",
            f"ignored: {ignored.forged} forged, {ignored.foreign} foreign, {ignored.gone} lost",
            "find out who else writes to this broker",
        )
    else:
        yield ok("messages", "none was forged, foreign or lost")


def _rejected(address: str) -> Finding:
    url = address if "://" in address else f"http://{address}"
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:  # noqa: S310 - http or https
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            return ok("metrics", f"at {address}, for those who have the token")
        return bad("metrics", f"{address} answers {error.code}", "see logs/coordinator.log")
    except OSError as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return ok("metrics", f"at {address}, by a certificate not known here")
        return bad("metrics", f"{address} does not answer: {error}", "see logs/coordinator.log")
    counts = [
        f"{sample.value:.0f} {sample.labels['what']}"
        for family in text_string_to_metric_families(text)
        if family.name == _REJECTED
        for sample in family.samples
        if sample.value
    ]
    if counts:
        return note("metrics", f"at {address}; the coordinator ignored {', '.join(counts)}")
    return ok("metrics", f"at {address}")
