"""Agents that `agents stop` has named: told wherever they run, forgotten when they have gone."""

from __future__ import annotations

import pytest

from batchpilot.coordinator.dismisser import Dismisser
from batchpilot.store.allocations import Pilot, Stage, add_pilots, update_pilots
from batchpilot.store.dismissals import dismiss, dismissed

from .conftest import Bench


@pytest.fixture
def dismisser(bench: Bench) -> Dismisser:
    return Dismisser(bench.desk)


def name(bench: Bench, *names: str) -> None:
    with bench.desk.db.write() as tx:
        dismiss(tx, names)


def named(bench: Bench) -> set[str]:
    with bench.desk.db.read() as tx:
        return dismissed(tx)


def told(bench: Bench, agent: str = "a1") -> list[str]:
    return [message["kind"] for message in bench.broker.told[agent]]


def test_an_agent_elsewhere_that_is_named_is_told_to_drain_once(
    bench: Bench, dismisser: Dismisser
) -> None:
    bench.agent()
    bench.agent("a2")
    name(bench, "a1")

    dismisser.tick()
    dismisser.tick()

    assert told(bench) == ["drain"]
    assert told(bench, "a2") == []


def test_one_that_comes_again_is_told_again_for_it_may_have_missed_it(
    bench: Bench, dismisser: Dismisser
) -> None:
    bench.agent()
    name(bench, "a1")
    dismisser.tick()

    dismisser.hello("a1")
    dismisser.tick()

    assert told(bench) == ["drain", "drain"]


def test_a_new_coordinator_tells_those_that_its_predecessor_had_to_tell(bench: Bench) -> None:
    bench.agent()
    name(bench, "a1")

    Dismisser(bench.desk).tick()

    assert told(bench) == ["drain"]


def test_who_has_gone_is_forgotten(bench: Bench, dismisser: Dismisser) -> None:
    bench.agent()
    bench.agent("a2")
    name(bench, "a1", "a2")
    dismisser.tick()

    bench.judge.end("a1", "left", 1.0)
    dismisser.tick()

    assert named(bench) == {"a2"}


def test_one_that_was_named_in_the_queue_and_comes_nevertheless_is_told(
    bench: Bench, dismisser: Dismisser
) -> None:
    pilot = Pilot(
        allocation="x",
        number=1,
        pool="pbs",
        kind="PBS",
        variables="{}",
        submitted=1.0,
        id="7[1]",
        stage=Stage.QUEUED,
    )
    with bench.desk.db.write() as tx:
        add_pilots(tx, [pilot])
        update_pilots(tx, [pilot])
    name(bench, "7[1]")
    dismisser.tick()
    assert named(bench) == {"7[1]"}

    bench.agent()
    pilot.agent, pilot.stage = "a1", Stage.RUNNING
    with bench.desk.db.write() as tx:
        update_pilots(tx, [pilot])
    dismisser.tick()
    assert told(bench) == ["drain"]

    pilot.stage = Stage.ENDED
    with bench.desk.db.write() as tx:
        update_pilots(tx, [pilot])
    dismisser.tick()
    assert named(bench) == set()
