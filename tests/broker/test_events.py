"""Events: what agents and sessions tell, how the coordinator reads on behind what is none."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchpilot_broker.access import write_access
from batchpilot_broker.clientside import Nudger, nudge
from batchpilot_broker.codec import Seal
from batchpilot_broker.errors import BrokerUnavailable
from batchpilot_broker.nouns import AgentState, Report


if TYPE_CHECKING:
    from tests.broker.conftest import Bench

REPORT = Report(
    agent="a1",
    segment="a1.results",
    start=0,
    end=128,
    rows=bytes(range(56)),
    notes=((3, b"note"),),
    running=((5, 1, 12.5, 2**64 - 1),),
)


def test_a_report_arrives_as_it_was_sent(bench: Bench) -> None:
    coordinator = bench.coordinator()
    bench.agent().report(REPORT)

    assert [event for _, event in coordinator.read("0", block_ms=0)] == [REPORT]


def test_events_are_read_on_from_the_last_id(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    for number in range(5):
        agent.send("hello", agent="a1", generation=number, held=[])

    first = coordinator.read("0", block_ms=0, count=3)
    rest = coordinator.read(first[-1][0], block_ms=0)

    generations = [e["generation"] for _, e in (*first, *rest) if isinstance(e, dict)]
    assert (len(first), generations) == (3, [0, 1, 2, 3, 4])


def test_reading_waits_as_long_as_asked_and_no_longer(bench: Bench) -> None:
    coordinator = bench.coordinator()
    started = time.monotonic()

    assert coordinator.read("0", block_ms=0) == []
    assert coordinator.read("0", block_ms=60) == []
    assert 0.05 < time.monotonic() - started < 4.5


def test_what_is_no_event_is_counted_and_read_over(bench: Bench) -> None:
    coordinator, seal = bench.coordinator(), bench.seal
    body = b"\x02\x00\xc0"
    for fields in (
        {"x": "foreign"},
        {"d": b"forged" * 10},
        {"d": Seal(bytes(32), bench.instance).pack("event", {"kind": "nudge"})},
        {"d": seal.mac("event", body) + body},
        {"d": seal.pack("event", ["no map"])},
        {"d": seal.pack("event", {"kind": "report"})},
    ):
        bench.client.xadd(bench.keys.events, fields)  # type: ignore[arg-type]  # bytes are fine
    bench.agent().send("nudge")

    read = coordinator.read("0", block_ms=0)

    why = [e.get("why") for _, e in read if isinstance(e, dict)]
    assert why == ["foreign", "forged", "forged", "version", "malformed", "malformed", None]
    assert coordinator.rejected == {"foreign": 1, "forged": 2, "version": 1, "malformed": 2}
    assert coordinator.read(read[-1][0], block_ms=0) == []


def test_trim_keeps_what_is_behind_an_id(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    for number in range(4):
        agent.send("hello", agent="a1", generation=number, held=[])
    ids = [number for number, _ in coordinator.read("0", block_ms=0)]

    coordinator.trim(ids[1])

    assert [number for number, _ in coordinator.read("0", block_ms=0)] == ids[2:]


def test_a_session_nudges(bench: Bench) -> None:
    coordinator = bench.coordinator()
    nudge(bench.paths, bench.instance)
    with closing(Nudger(bench.paths, bench.instance)) as nudger:
        nudger.nudge()
        nudger.nudge()

    assert [e for _, e in coordinator.read("0", block_ms=0)] == [{"kind": "nudge"}] * 3


def test_a_nudger_follows_the_record_of_the_broker(bench: Bench) -> None:
    coordinator = bench.coordinator()
    with closing(Nudger(bench.paths, bench.instance)) as nudger:
        nudger.nudge()
        write_access(bench.paths, replace(bench.access, urls=("unix:///nowhere.sock",)))
        with pytest.raises(BrokerUnavailable, match=r"nowhere\.sock"):
            nudger.nudge()
        write_access(bench.paths, bench.access)
        nudger.nudge()

    assert len(coordinator.read("0", block_ms=0)) == 2


def test_a_nudger_survives_a_cut_connection(bench: Bench) -> None:
    coordinator = bench.coordinator()
    with closing(Nudger(bench.paths, bench.instance)) as nudger:
        nudger.nudge()
        bench.client.client_kill_filter(_type="normal", skipme=True)
        nudger.nudge()

    reader = bench.coordinator(2)
    assert len(reader.read("0", block_ms=0)) == 2
    coordinator.close()


def test_nudging_without_a_broker_says_how_to_get_one(bench: Bench) -> None:
    bench.paths.broker.unlink()

    with pytest.raises(BrokerUnavailable, match="batchpilot broker start"):
        nudge(bench.paths, bench.instance)


def test_a_survey_tells_agents_beats_states_and_leases(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.feed([bench.chunk(1)])
    agent.claim("a1", [(bench.CLASS, 0)])
    agent.beat("a1", AgentState.BUSY, 2, 1)
    agent.beat("a1", AgentState.BUSY, 2, 1)

    assert coordinator.agents() == {"a1": bench.info("a1")}
    assert coordinator.beats() == {"a1": 2}
    assert coordinator.states() == {"a1": (AgentState.BUSY, 2)}
    assert coordinator.leases() == {1: "a1"}


def test_an_agent_that_announces_itself_again_stays_in_the_state_it_has_told(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    agent.beat("a1", AgentState.BUSY, 2, 1)

    agent.register(bench.info("a1"))

    assert coordinator.states() == {"a1": (AgentState.BUSY, 2)}


def test_garbage_in_our_hashes_is_counted_and_left_out(bench: Bench) -> None:
    coordinator, keys = bench.coordinator(), bench.keys
    bench.agent()
    bench.client.hset(keys.agents, "x", b"no seal")
    bench.client.hset(keys.beats, "x", "many")
    bench.client.hset(keys.states, "x", "dreaming")
    bench.client.hset(keys.leases, "x", "a1")

    survey = coordinator.survey()

    assert (set(survey.agents), set(survey.beats), set(survey.states)) == ({"a1"},) * 3
    assert survey.leases == {}
    assert coordinator.rejected == {"agent": 1, "unreadable": 3}


def test_a_beat_tells_how_things_stand(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()

    alone = agent.beat("a1", AgentState.IDLE, 0, 0)
    coordinator.alive(7)
    served = agent.beat("a1", AgentState.IDLE, 0, 0)
    coordinator.forget("a1")
    forgotten = agent.beat("a1", AgentState.IDLE, 0, 0)

    assert (alone.generation, alone.coordinator_alive, alone.unfinished) == (1, False, 0)
    assert (served.coordinator_alive, served.unfinished, served.known) == (True, 7, True)
    assert not forgotten.known


def test_a_beat_on_lost_data_shows_generation_0(bench: Bench) -> None:
    agent = bench.agent()
    bench.client.delete(bench.keys.generation)

    assert agent.beat("a1", AgentState.IDLE, 0, 0).generation == 0


def test_the_broker_tells_how_it_fares(bench: Bench) -> None:
    coordinator = bench.coordinator()
    started = time.perf_counter()

    status = coordinator.status()

    assert status.up
    assert 0 < status.roundtrip_seconds < time.perf_counter() - started
    assert status.memory_bytes > 0
    assert status.clients >= 1
    assert status.version[0].isdigit()
