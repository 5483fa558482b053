"""Terms: a coordinator that was superseded changes nothing any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from batchpilot_broker.coordside import CoordinatorBroker
from batchpilot_broker.errors import BrokerUnavailable, TermSuperseded
from batchpilot_broker.nouns import ResourceClass


if TYPE_CHECKING:
    from tests.broker.conftest import Bench

CHANGES: dict[str, Callable[[CoordinatorBroker, Bench], object]] = {
    "feed": lambda c, bench: c.feed([bench.chunk(9)]),
    "withdraw": lambda c, bench: c.withdraw(bench.CLASS, [1]),
    "announce": lambda c, bench: c.announce(bench.CLASS, ResourceClass()),
    "trim": lambda c, _: c.trim("99999999999999-0"),
    "control": lambda c, _: c.control("a1", "stop"),
    "release": lambda c, _: c.release(2),
    "forget": lambda c, _: c.forget("a1"),
    "alive": lambda c, _: c.alive(7),
    "take": lambda c, _: c.take(1),
}


def contents(bench: Bench) -> dict[bytes, bytes | None]:
    found = [key for pattern in ("bp", "rq") for key in bench.client.scan_iter(f"{pattern}*")]
    return {key: bench.client.dump(key) for key in found if bench.instance.encode() in key}


@pytest.mark.parametrize("change", CHANGES)
def test_a_superseded_coordinator_changes_nothing(bench: Bench, change: str) -> None:
    old, agent = bench.coordinator(1), bench.agent()
    old.feed([bench.chunk(2)])
    agent.claim("a1", [(bench.CLASS, 0)])
    agent.send("hello", agent="a1", generation=1, held=[2])
    old.feed([bench.chunk(1)])
    bench.coordinator(2)
    before = contents(bench)

    with pytest.raises(TermSuperseded, match="2"):
        CHANGES[change](old, bench)

    assert contents(bench) == before


def test_taking_ones_own_term_again_is_harmless(bench: Bench) -> None:
    coordinator = bench.coordinator(3)

    coordinator.take(3)

    assert coordinator.feed([bench.chunk(1)]) > 0


def test_a_broker_that_lost_its_data_wants_the_office_taken_again(bench: Bench) -> None:
    coordinator = bench.coordinator(3)
    bench.client.delete(bench.keys.term)

    with pytest.raises(BrokerUnavailable, match="started anew"):
        coordinator.feed([bench.chunk(1)])
    coordinator.take(3)

    assert coordinator.feed([bench.chunk(1)]) > 0


def test_a_superseded_coordinator_may_still_read(bench: Bench) -> None:
    old = bench.coordinator(1)
    bench.coordinator(2)

    assert old.survey().leases == {}
    assert old.status().up
