"""RQ's own eyes: the pinned RQ reads what our scripts write, and its looking changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from rq import Queue, Worker
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE, Execution, ExecutionRegistry
from rq.job import Job, JobStatus
from rq.registry import FinishedJobRegistry, StartedJobRegistry
from rq.version import VERSION
from rq.worker import BaseWorker
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from batchpilot_broker.access import public_url
from batchpilot_broker.codec import Seal
from batchpilot_broker.errors import ForgedMessage
from batchpilot_broker.keys import Keys
from batchpilot_broker.nouns import AgentState, Chunk
from batchpilot_broker.rqueues import SealedSerializer, chunk_fields


if TYPE_CHECKING:
    from tests.broker.conftest import Bench


def queue(bench: Bench) -> Queue:
    serializer = SealedSerializer(bench.seal)
    return Queue(bench.keys.queue(bench.CLASS), connection=bench.client, serializer=serializer)


def job(bench: Bench, number: int) -> Job:
    serializer = SealedSerializer(bench.seal)
    return Job.fetch(bench.keys.job(number), connection=bench.client, serializer=serializer)


def workers(bench: Bench) -> dict[str, BaseWorker]:
    return {worker.name: worker for worker in Worker.all(queue=queue(bench))}


def test_this_is_the_rq_whose_keys_our_scripts_write() -> None:
    keys = Keys("i")
    execution = Execution("a1", keys.job(7), connection=None)  # type: ignore[arg-type]  # never used

    assert VERSION.startswith("3.0.")
    assert Queue.redis_queue_namespace_prefix + keys.queue("c") == keys.queue_list("c")
    assert Queue.redis_queues_keys == "rq:queues"
    assert Job.key_for(keys.job(7)) == "rq:job:bp-i-c7"
    assert StartedJobRegistry.key_template.format("q") == "rq:wip:q"
    assert FinishedJobRegistry.key_template.format("q") == "rq:finished:q"
    assert Worker.redis_worker_namespace_prefix + keys.worker("a1") == keys.worker_hash("a1")
    assert REDIS_WORKER_KEYS == "rq:workers"
    assert WORKERS_BY_QUEUE_KEY % "q" == "rq:workers:q"
    assert execution.composite_key == "bp-i-c7:a1"
    assert execution.key == "rq:execution:bp-i-c7:a1"
    assert ExecutionRegistry.key_template.format("j") == "rq:executions:j"
    assert WORKER_EXECUTIONS_KEY_TEMPLATE.format("w") == "rq:worker:w:executions"


def test_the_fields_of_a_job_are_those_that_we_know_of(bench: Bench) -> None:
    fields = chunk_fields(bench.keys, bench.seal, bench.chunk(7, jobs=3))

    assert set(fields) == {
        *("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
        *("data", "status", "origin", "description", "timeout", "result_ttl"),
        *("success_callback_name", "failure_callback_name", "stopped_callback_name"),
        *("worker_name", "group_id"),
    }
    assert fields["description"] == "batchpilot chunk 7: 3 jobs"
    assert (fields["status"], fields["timeout"], fields["result_ttl"]) == ("queued", -1, 600)


def test_rq_reads_a_queued_chunk(bench: Bench) -> None:
    bench.coordinator().feed([bench.chunk(1), bench.chunk(2)])

    read = job(bench, 2)
    assert queue(bench).key in {q.key for q in Queue.all(connection=bench.client)}
    assert queue(bench).job_ids == [bench.keys.job(1), bench.keys.job(2)]
    assert read.get_status() == JobStatus.QUEUED
    assert read.func_name == "batchpilot_agent.chunk"
    assert Chunk.from_wire(read.args[0]) == bench.chunk(2)
    assert read.origin == bench.keys.queue(bench.CLASS)
    assert read.enqueued_at
    assert abs((datetime.now(UTC) - read.enqueued_at).total_seconds()) < 60


def test_rq_reads_a_running_chunk(bench: Bench) -> None:
    agent = bench.agent()
    bench.coordinator().feed([bench.chunk(1), bench.chunk(2)])
    agent.claim("a1", [(bench.CLASS, 0)])

    read, worker = job(bench, 1), workers(bench)[bench.keys.worker("a1")]
    started = queue(bench).started_job_registry
    execution = Execution.fetch("a1", read.id, bench.client)
    assert started.get_job_and_execution_ids() == [(read.id, "a1")]
    assert bench.client.zscore(started.key, f"{read.id}:a1") == float("inf")
    assert (read.get_status(), read.worker_name) == (JobStatus.STARTED, worker.name)
    assert read.started_at
    assert (worker.get_state(), worker.get_current_job_id()) == ("busy", read.id)
    assert read.get_executions() == [execution]
    assert execution.worker_name == worker.name
    assert abs(execution.created_at.timestamp() - time.time()) < 60


def test_rq_reads_a_worker(bench: Bench) -> None:
    bench.coordinator().announce(bench.CLASS, bench.chunk(1).resources)
    agent = bench.agent()

    worker = workers(bench)[bench.keys.worker("a1")]
    assert (worker.hostname, worker.pid, worker.python_version) == ("node7", 4242, "3.11")
    assert worker.queue_names() == [bench.keys.queue(bench.CLASS)]
    assert worker.birth_date
    assert worker.birth_date.timestamp() == pytest.approx(1.7e9)
    agent.beat("a1", AgentState.BUSY, 1, 1)
    worker = workers(bench)[bench.keys.worker("a1")]
    assert worker.last_heartbeat
    assert abs(worker.last_heartbeat.timestamp() - time.time()) < 60
    assert worker.get_state() == "busy"


def test_a_worker_that_registers_again_is_as_busy_as_before(bench: Bench) -> None:
    agent = bench.agent()
    agent.beat("a1", AgentState.BUSY, 1, 1)
    before = bench.client.hgetall(bench.keys.worker_hash("a1"))

    agent.register(bench.info("a1"))

    assert bench.client.hgetall(bench.keys.worker_hash("a1")) == before


def test_a_worker_also_shows_at_queues_it_serves_later(bench: Bench) -> None:
    bench.coordinator().announce(bench.OTHER, bench.chunk(1).resources)
    agent = bench.agent()

    agent.claim("a1", [(bench.CLASS, 0)])

    both = sorted([bench.keys.queue(bench.CLASS), bench.keys.queue(bench.OTHER)])
    assert workers(bench)[bench.keys.worker("a1")].queue_names() == both


def test_rq_reads_a_finished_chunk_without_its_payload(bench: Bench) -> None:
    agent = bench.agent()
    bench.coordinator().feed([bench.chunk(1)])
    agent.claim("a1", [(bench.CLASS, 0)])

    agent.finish("a1", 1, jobs=3, seconds=1.5)

    read, worker = job(bench, 1), workers(bench)[bench.keys.worker("a1")]
    assert (read.get_status(), read.args) == (JobStatus.FINISHED, [])
    assert read.ended_at
    assert queue(bench).finished_job_registry.get_job_ids() == [read.id]
    assert queue(bench).started_job_registry.count == 0
    assert read.get_executions() == []
    assert (worker.get_state(), worker.get_current_job_id()) == ("idle", None)
    assert (worker.successful_job_count, worker.total_working_time) == (3, 1.5)


def test_the_finished_that_rq_no_longer_shows_do_not_pile_up(bench: Bench) -> None:
    agent, registry = bench.agent(), queue(bench).finished_job_registry
    bench.client.zadd(registry.key, {"long-ago": time.time() - 1})
    bench.coordinator().feed([bench.chunk(1)])
    agent.claim("a1", [(bench.CLASS, 0)])

    agent.finish("a1", 1, jobs=1, seconds=0.1)

    assert bench.client.zrange(registry.key, 0, -1) == [bench.keys.job(1).encode()]


def test_the_serializer_verifies_before_it_decodes(bench: Bench) -> None:
    serializer = SealedSerializer(bench.seal)
    data = serializer.dumps(("f", None, [1], {}))

    assert serializer.loads(data) == ["f", None, [1], {}]
    with pytest.raises(ForgedMessage):
        SealedSerializer(Seal(bytes(32), bench.instance)).loads(data)


def contents(bench: Bench) -> dict[bytes, bytes | None]:
    """All of our keys; time to live is not part of a dump."""
    keys = [key for key in bench.client.scan_iter("*") if bench.instance.encode() in key]
    return {key: bench.client.dump(key) for key in keys}


def rq_info(bench: Bench) -> str:
    path = bench.access.urls[0].removeprefix("unix://")
    url = f"unix://{bench.access.username}@{quote(path)}?password={quote(bench.access.password)}"
    told = subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "--raw"],
        env={**os.environ, "RQ_REDIS_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert bench.access.password not in public_url(bench.access)
    return told.stdout


def told_of(bench: Bench, told: str) -> Iterator[str]:
    """Lines about our queue and our workers, without the instance."""
    for line in told.splitlines():
        if bench.instance in line:
            yield line.replace(bench.keys.prefix, "")


def test_rq_info_shows_our_queues_workers_and_jobs_and_changes_nothing(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.announce(bench.CLASS, bench.chunk(1).resources)
    bench.agent("a2")
    coordinator.feed([bench.chunk(n) for n in range(1, 6)])
    agent.claim("a1", [(bench.CLASS, 0)])
    agent.claim("a1", [(bench.CLASS, 0)])
    agent.finish("a1", 1, jobs=1, seconds=0.1)
    before = contents(bench)

    told = [sorted(told_of(bench, rq_info(bench))) for _ in range(3)]

    queue_name = bench.CLASS
    assert told[0] == [
        f"queue {queue_name} 3, 1 executing, 1 finished, 0 failed",
        f"worker a1 (node7 local 4242) busy {queue_name}. jobs: 1 finished, 0 failed",
        f"worker a2 (node7 local 4242) idle {queue_name}. jobs: 0 finished, 0 failed",
    ]
    assert told[1:] == told[:1] * 2
    assert contents(bench) == before


def test_a_run_with_rq_info_in_a_loop_loses_and_repeats_nothing(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    number, done = 0, []
    looks = [looking(bench) for _ in range(2)]
    while any(look.poll() is None for look in looks):
        coordinator.feed([bench.chunk(number := number + 1)])
        claimed = agent.claim("a1", [(bench.CLASS, 0)])
        assert claimed
        assert coordinator.leases() == {claimed.id: "a1"}
        agent.finish("a1", claimed.id, jobs=1, seconds=0.0)
        done.append(claimed.id)

    assert [look.wait() for look in looks] == [0, 0]
    assert done == list(range(1, number + 1))
    assert (coordinator.leases(), coordinator.queued(bench.CLASS)) == ({}, [])
    assert queue(bench).failed_job_registry.count == 0


def looking(bench: Bench) -> subprocess.Popen[bytes]:
    path = bench.access.urls[0].removeprefix("unix://")
    url = f"unix://{bench.access.username}@{quote(path)}?password={quote(bench.access.password)}"
    loop = 'for i in 1 2 3 4; do "$0" -m rq.cli info --raw >/dev/null || exit 1; done'
    return subprocess.Popen(
        ["/bin/sh", "-c", loop, sys.executable], env={**os.environ, "RQ_REDIS_URL": url}
    )
