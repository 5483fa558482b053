"""What the pilot tells the broker, and when; the clock is handed in."""

from __future__ import annotations

import itertools
from typing import Any

from batchpilot_broker.frames import ENDED, Kind
from batchpilot_broker.nouns import AgentState

from .memorybroker import chunk_of
from .stage import Stage


def test_jobs_are_told_running_after_50_ms_once(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    slot.announce(0, stage.wall.now)
    for _ in range(8):
        stage.step(0.06)
    running = [entry for report in stage.broker.reports for entry in report.running]

    assert [(job, attempt) for job, attempt, *_ in running] == [(100, 1)]


def test_short_jobs_are_not_told_running(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=20))
    (slot,) = stage.busy
    for index in range(20):
        slot.announce(index, stage.wall.now)
        stage.step(0.04)

    assert not any(report.running for report in stage.broker.reports)


def test_rows_are_told_at_the_end_of_a_chunk_else_every_tenth_of_a_second(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    stage.step(0.2)
    before = len(stage.broker.reports)
    slot.announce(0, stage.wall.now)
    slot.record(0)
    stage.step(0.02)
    assert len(stage.broker.reports) == before
    stage.step(0.1)
    assert len(stage.broker.reports) == before + 1
    slot.announce(1, stage.wall.now)
    slot.record(1)
    slot.end(2)
    stage.step()

    assert len(stage.broker.reports) == before + 2
    assert stage.broker.finished == [(1, 2)]


def test_what_could_not_be_told_is_told_when_the_broker_is_back(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    stage.broker.down = True
    slot.run_all()
    stage.step(0.2)
    assert stage.broker.closed == 1
    assert stage.broker.finished == []
    stage.broker.down = False
    stage.step(1.0)
    spans = [(report.start, report.end) for report in stage.broker.reports]

    assert stage.broker.finished == [(1, 2)]
    assert spans[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert [said["kind"] for said in stage.broker.said] == ["hello", "hello"]


def test_the_broker_is_tried_again_after_pauses_that_grow(stage: Stage) -> None:
    tries: list[float] = []

    def refuse() -> Any:
        tries.append(stage.clock.now)
        return stage.broker.open()

    stage.pilot.link._opener = refuse
    stage.broker.down = True
    for _ in range(2000):
        stage.step(0.01)
    pauses = [round(b - a, 1) for a, b in itertools.pairwise(tries)]

    assert pauses[:5] == [0.4, 0.8, 1.6, 3.2, 5.0]


def test_asked_to_announce_itself_it_says_what_it_holds_now(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.pilot.obey({"kind": "announce"}, stage.clock.now)

    assert [said["held"] for said in stage.broker.said] == [[], [1]]


def test_a_new_generation_is_told_what_is_held(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    stage.broker.generation = 2
    stage.broker.agents.clear()
    stage.broker.leases.clear()
    stage.step(5.1)

    assert stage.broker.said[-1] == {
        "kind": "hello",
        "agent": "a1",
        "generation": 2,
        "held": [1],
    }
    assert stage.broker.leases == {1: "a1"}
    assert "a1" in stage.broker.agents


def test_it_beats_every_five_seconds_with_its_state(stage: Stage) -> None:
    stage.feed(chunk_of(1))
    for _ in range(12):
        stage.step(1.0)

    assert stage.broker.beats == [
        (AgentState.IDLE, 0, 0),
        (AgentState.BUSY, 1, 1),
        (AgentState.BUSY, 1, 1),
    ]


def test_a_chunk_is_finished_only_when_its_end_is_written(stage: Stage) -> None:
    stage.feed(chunk_of(1, jobs=2))
    (slot,) = stage.busy
    results = stage.ledger._results
    full = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115 - a disk without space
    room, results._fd = results._fd, full.fileno()
    slot.run_all()
    stage.step()
    assert stage.broker.finished == []
    results._fd = room
    stage.step(1.0)
    full.close()

    assert stage.broker.finished == [(1, 2)]
    ended = [f.payload for f in stage.frames() if f.kind == Kind.CHUNK_ENDED]
    assert [ENDED.unpack(payload)[::2] for payload in ended] == [(1, 2)]
