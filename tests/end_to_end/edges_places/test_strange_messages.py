"""Truncated and random messages in the broker, of strangers and of those who have the key.

They are ignored, counted, told by `doctor`, `status` and metrics; the work goes on.
"""

from __future__ import annotations

import random
import re
import urllib.request
from typing import Any

from redis import Redis
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.failures.tools import assert_each_done_once, broker_of
from tests.end_to_end.failures.work import brief

import batchpilot as bp
from batchpilot import control
from batchpilot_broker.codec import Seal
from batchpilot_broker.keys import Keys

from .conftest import Call


JOBS = 1500
ODD: tuple[Any, ...] = (
    None, 7, [], {}, {"kind": 5}, {"kind": "hello"}, {"kind": "bye", "agent": "../x"},
    {"kind": "hello", "agent": "a", "generation": 1, "held": "all"}, {"kind": "report"},
    {"kind": "report", "agent": "a", "segment": "../../s", "from": 0, "to": 1, "rows": b"",
     "notes": [], "running": []},
    {"kind": "report", "agent": "a", "segment": "a.results", "from": 0, "to": 1, "rows": b"x",
     "notes": [], "running": []},
    {"kind": "cancel", "ranges": [[5]], "attempt": "x"}, {"kind": "request"},
    {"kind": "request", "id": "r1", "verb": "remove", "until": 9e9, "body": b""},
    {"kind": "request", "id": "r2", "verb": "kill_jobs", "until": 9e9, "body": b"\xc1"},
    {"kind": "request", "id": "r3", "verb": "kill_jobs", "until": 9e9, "body": b"\x05"},
    {"kind": "request", "id": "r4", "verb": "kill_jobs", "until": 9e9, "body": b"\x92\x05\x05"},
)  # fmt: skip
"""Sealed as it should be, and senseless."""


def put_strange_things(registry: bp.Registry, moments: random.Random) -> None:
    """Put what is no message wherever a message may stand."""
    keys = Keys(registry.instance)
    seal = Seal(registry.paths.secret.read_bytes(), registry.instance)
    with registry.database.read() as tx:
        ((name, *_),) = tx.all("all_classes")
    queue = keys.queue_list(name)
    with broker_of(registry) as client:
        (agent, *_) = (name.decode() for name in _hkeys(client, keys.agents))
        for message in (*ODD, *(moments.randbytes(n) for n in (0, 1, 33, 400))):
            raw = isinstance(message, bytes)
            event = message if raw else seal.pack("event", message)
            control_ = message if raw else seal.pack("control", message)
            client.xadd(keys.events, {"d": event})
            client.xadd(keys.events, {"d": event[: len(event) // 2]})
            client.lpush(keys.control(agent), control_, control_[:-1])
        client.xadd(keys.events, {"x": "y"})
        for name, value in (("strange", b"x"), (b"\xff\xfe", moments.randbytes(90))):
            client.hset(keys.agents, name, value)
            client.hset(keys.beats, name, value)
            client.hset(keys.states, name, value)
            client.hset(keys.classes, name, value)
            client.hset(keys.leases, name, value)
        for number, fields in enumerate(
            ({"data": moments.randbytes(200)}, {"x": b""}, {"data": b""})
        ):
            job = keys.job(10**9 + number)
            client.hset(f"rq:job:{job}", mapping=fields)  # type: ignore[arg-type]  # bytes are fine
            client.lpush(queue, job, f"stranger-{number}", moments.randbytes(9))
        client.set(f"rq:job:{keys.job(10**9 + 9)}", "no hash")
        client.lpush(queue, keys.job(10**9 + 9), keys.job(10**9 + 10))


def _hkeys(client: Redis, key: str) -> list[bytes]:
    found: Any = client.hkeys(key)
    return list(found)


def test_strange_messages_are_counted_and_told_and_cost_nothing(
    make_study: MakeStudy, until: Until, call: Call, moments: random.Random
) -> None:
    registry = make_study()
    registry.batch_map(brief, i=range(1, JOBS + 1), more_args={"seconds": 0.002})
    registry.submit_jobs()
    until(lambda: registry.get_status().done > 50)
    daemons = (control.coordinator_status(registry.paths)["pid"], control.agents(registry.paths))

    put_strange_things(registry, moments)

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_status()
    assert_each_done_once(registry, JOBS)
    assert max(numbers(registry, "charged")) == 0
    assert control.coordinator_status(registry.paths)["pid"] == daemons[0]
    assert {a["id"] for a in control.agents(registry.paths)} == {a["id"] for a in daemons[1]}
    address = control.coordinator_status(registry.paths)["metrics"]

    def counted() -> set[str]:
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            metrics = answer.read().decode()
        found = re.findall(r'_events_rejected_total\{.*what="(\w+)"\} ([\d.]+)', metrics)
        return {what for what, count in found if float(count)}

    until(lambda: counted() >= {"forged", "malformed", "foreign"})
    code, said = call("doctor", registry.file_dir)
    assert code == 0, said
    assert "messages: ignored: " in said
    assert "the coordinator ignored" in said
    assert "Trouble: messages: ignored: " in call("status", registry.file_dir)[1]
