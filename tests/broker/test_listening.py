"""An agent waits for bells and control messages without blocking."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

import pytest

from batchpilot_broker.codec import Seal
from batchpilot_broker.errors import BrokerUnavailable


if TYPE_CHECKING:
    from tests.broker.conftest import Bench

    from batchpilot_broker.agentside import AgentBroker


def heard(agent: AgentBroker, seconds: float = 10.0) -> list[dict[str, Any]]:
    """Poll as the pilot does."""
    fileno = agent.fileno()
    assert fileno is not None
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    assert poll.poll(1000 * seconds), "nothing came"
    return agent.receive()


def test_nothing_came_is_said_at_once(bench: Bench) -> None:
    agent = bench.agent()
    nothing_pending = agent.receive()
    agent.listen("a1", [bench.CLASS])
    started = time.monotonic()

    assert (nothing_pending, agent.receive(), agent.receive()) == ([], [], [])
    assert time.monotonic() - started < 4


def test_before_listening_there_is_nothing_to_poll(bench: Bench) -> None:
    assert bench.agent().fileno() is None


def test_a_fed_chunk_rings(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    agent.listen("a1", [bench.OTHER, bench.CLASS])

    coordinator.feed([bench.chunk(1)])

    assert heard(agent) == [{"kind": "bell", "class": bench.CLASS}]


def test_control_messages_arrive_in_order_and_all_at_once(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    coordinator.control("a1", "cancel", ranges=[[1, 5]], attempt=2)
    coordinator.control("a1", "drain")
    coordinator.control("other", "stop")

    agent.listen("a1", [bench.CLASS])

    assert heard(agent) == [
        {"kind": "cancel", "ranges": [[1, 5]], "attempt": 2},
        {"kind": "drain"},
    ]


def test_an_announced_class_is_told_to_every_agent(bench: Bench) -> None:
    coordinator, one, two = bench.coordinator(), bench.agent("a1"), bench.agent("a2")
    one.listen("a1", [])
    two.listen("a2", [])

    coordinator.announce(bench.CLASS, bench.chunk(1).resources)

    assert heard(one) == heard(two) == [{"kind": "classes"}]


def test_forged_control_messages_are_counted_and_dropped(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    stop = Seal(bytes(32), bench.instance).pack("control", {"kind": "stop"})
    bench.client.rpush(bench.keys.control("a1"), stop, b"junk")
    coordinator.control("a1", "drain")

    agent.listen("a1", [])

    assert heard(agent) == [{"kind": "drain"}]
    assert bench.count(bench.keys.forged) == 2


def test_an_agent_wakes_itself(bench: Bench) -> None:
    agent = bench.agent()
    agent.listen("a1", [bench.CLASS])

    agent.wake("a1")

    assert heard(agent) == [{"kind": "wake"}]


def test_listening_again_to_the_same_changes_nothing(bench: Bench) -> None:
    agent = bench.agent()
    agent.listen("a1", [bench.CLASS])
    before = agent.fileno()
    agent.listen("a1", [bench.CLASS])
    agent.wake("a1")

    assert agent.fileno() == before
    assert heard(agent) == [{"kind": "wake"}]
    assert agent.fileno() is None


def test_listening_to_other_classes_replaces_the_wait(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    agent.listen("a1", [bench.CLASS])
    agent.listen("a1", [bench.OTHER])

    coordinator.feed([bench.chunk(1)])
    coordinator.feed([bench.chunk(2, bench.OTHER)])

    assert heard(agent) == [{"kind": "bell", "class": bench.OTHER}]


def test_what_was_popped_before_the_wait_was_replaced_is_not_lost(bench: Bench) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    agent.listen("a1", [bench.CLASS])
    coordinator.control("a1", "stop")
    agent.listen("a1", [bench.OTHER])

    assert heard(agent) == [{"kind": "stop"}, {"kind": "wake"}]


@pytest.mark.parametrize("times", [200])
def test_no_message_is_lost_however_often_the_wait_is_replaced(bench: Bench, times: int) -> None:
    coordinator, agent = bench.coordinator(), bench.agent()
    got: list[int] = []
    for number in range(times):
        agent.listen("a1", [f"{number:012x}"])
        coordinator.control("a1", "cancel", ranges=[[number + 1] * 2], attempt=1)
        got += [m["ranges"][0][0] for m in agent.receive() if m["kind"] == "cancel"]
    while len(got) < times:
        agent.listen("a1", [])
        got += [m["ranges"][0][0] for m in heard(agent) if m["kind"] == "cancel"]

    assert got == list(range(1, times + 1))


def test_a_cut_wait_is_a_broker_error(bench: Bench) -> None:
    agent = bench.agent()
    agent.listen("a1", [])
    bench.client.client_kill_filter(_type="normal", skipme=True)

    with pytest.raises(BrokerUnavailable):
        heard(agent)
