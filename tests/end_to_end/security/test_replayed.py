"""What somebody with the broker's password, or with the registry's disk, puts in our way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers
from tests.end_to_end.failures import work
from tests.end_to_end.failures.tools import broker_of

import batchpilot as bp
from batchpilot import control
from batchpilot_agent.errors import ObjectForged
from batchpilot_broker.keys import Keys


def leaves_a_line(i: int, trace: str, gates: str, job: Any) -> int:
    """Write down that this job ran; all but the second one wait to be let go."""
    with Path(trace).open("a") as file:
        file.write(f"{job.id}-{job.attempt}\n")
    return int(work.gated(i, gates, job)) if gates and i != 2 else int(job.attempt)


def began(trace: Path) -> list[str]:
    return trace.read_text().split() if trace.exists() else []


def test_a_chunk_replayed_after_a_reset_counts_for_nothing(
    make_study: MakeStudy, until: Until, gates: Path, tmp_path: Path
) -> None:
    registry = make_study(pool=bp.pools.Local(slots=1))
    trace = tmp_path / "trace"
    more = {"trace": str(trace), "gates": str(gates)}
    registry.batch_map(leaves_a_line, i=[1, 2, 3, 4], more_args=more)
    registry.submit_jobs([1, 2])
    until((gates / "began-1-1").exists)
    until(lambda: registry.find_started() == [1])
    recorded = queued_chunks(registry)
    (gates / "open-1-1").touch()
    assert registry.wait_for_jobs(timeout=60, progress=False)
    registry.reset_jobs(2)

    replay_to_another(registry, recorded, 3, gates, until)
    until(lambda: began(trace).count("2-1") == 2)
    until(lambda: "late row" in (registry.paths.logs / "coordinator.log").read_text())

    assert registry.find_not_submitted() == [2, 4]
    registry.submit_jobs(2)
    assert registry.wait_for_jobs(timeout=60, progress=False)
    replay_to_another(registry, recorded, 4, gates, until)
    until(lambda: began(trace).count("2-1") == 3)
    assert registry.load_result(2) == 2
    assert numbers(registry, "attempt") == [1, 2, 1, 1]


def queued_chunks(registry: bp.Registry) -> list[tuple[str, str, dict[bytes, bytes]]]:
    """Return (queue list, job id, hash) of what is queued, as an eavesdropper records it."""
    recorded = []
    with broker_of(registry) as client:
        for queue in client.scan_iter(f"rq:queue:bp-{registry.instance}-*"):
            jobs: Any = client.lrange(queue, 0, -1)
            for job in jobs:
                fields: Any = client.hgetall(b"rq:job:" + job)
                recorded.append((queue.decode(), job.decode(), fields))
    assert recorded
    return recorded


def replay(registry: bp.Registry, recorded: list[tuple[str, str, dict[bytes, bytes]]]) -> None:
    """Queue it again, as a stranger does who has the broker's password."""
    keys = Keys(registry.instance)
    with broker_of(registry) as client:
        for queue, job, fields in recorded:
            client.hset(f"rq:job:{job}", mapping=fields)  # type: ignore[arg-type]  # bytes are fine
            client.rpush(queue, job)
            client.rpush(keys.bell(queue.rpartition("-")[2]), "1")


def replay_to_another(
    registry: bp.Registry,
    recorded: list[tuple[str, str, dict[bytes, bytes]]],
    job: int,
    gates: Path,
    until: Until,
) -> None:
    """Replay it where an agent works that has not run it: one that has would not do so again."""
    registry.stop_agents()
    until(lambda: not control.agents(registry.paths))
    registry.resume_agents()
    registry.submit_jobs(job)
    until((gates / f"began-{job}-1").exists)
    replay(registry, recorded)
    (gates / f"open-{job}-1").touch()


def test_an_object_that_does_not_match_its_hash_is_run_by_nobody(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    registry = make_study()
    trace = tmp_path / "trace"
    more = {"trace": str(trace), "gates": ""}
    registry.batch_map(leaves_a_line, i=[2, 3], more_args=more)
    control.start(registry.paths)
    registry.stop_agents()  # so that nobody has read them before
    registry.submit_jobs(1)
    for path in registry.paths.objects.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(ObjectForged, match="do not match its name"):
        registry.submit_jobs(2)
    registry.resume_agents()

    assert not registry.wait_for_jobs(timeout=60, progress=False)
    assert registry.find_error() == [1]
    said = registry.get_error_messages()["message"]
    assert said.str.contains("its bytes do not match its name").all()
    assert began(trace) == []
