"""Who may claim: agents that have shown that they see this registry's directory."""

from __future__ import annotations

import pytest

from batchpilot.coordinator.welcomer import Welcomer

from .conftest import Bench


PATIENCE = 65.0


@pytest.fixture
def welcomer(bench: Bench) -> Welcomer:
    return Welcomer(bench.desk, monotonic=lambda: bench.clock, patience=PATIENCE)


def told(bench: Bench) -> list[str]:
    return [message["kind"] for message in bench.broker.told["a1"]]


def test_an_agent_whose_file_is_seen_is_bidden_welcome_once(
    bench: Bench, welcomer: Welcomer
) -> None:
    bench.agent()

    welcomer.tick()
    welcomer.tick()

    assert told(bench) == ["welcome"]


def test_an_agent_that_comes_again_is_told_again(bench: Bench, welcomer: Welcomer) -> None:
    bench.agent()
    welcomer.tick()

    welcomer.hello("a1")
    welcomer.tick()

    assert told(bench) == ["welcome", "welcome"]


def test_a_file_that_is_seen_late_is_waited_for(bench: Bench, welcomer: Welcomer) -> None:
    bench.agent()
    path = bench.desk.paths.results("a1")
    aside = path.rename(path.with_suffix(".unseen"))
    welcomer.tick()
    bench.clock += PATIENCE - 1
    welcomer.tick()
    assert told(bench) == []

    aside.rename(path)
    welcomer.tick()

    assert told(bench) == ["welcome"]


def test_an_agent_with_another_directory_is_refused_with_both_paths(
    bench: Bench, welcomer: Welcomer
) -> None:
    bench.agent()
    bench.desk.paths.results("a1").unlink()
    welcomer.tick()
    bench.clock += PATIENCE + 1
    welcomer.tick()

    (message,) = bench.broker.told["a1"]
    assert message["kind"] == "refused"
    assert "on far-away does not appear in" in message["why"]
    assert str(bench.desk.paths.root) in message["why"]
