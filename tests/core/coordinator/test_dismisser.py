"""Agents that a user stops on other hosts are told to leave, once."""

from __future__ import annotations

from batchpilot.coordinator.dismisser import Dismisser
from batchpilot.store.agents import dismiss

from .conftest import Bench


def test_each_dismissed_agent_is_told_once(bench: Bench) -> None:
    dismisser = Dismisser(bench.desk)
    for agent in ("a1", "a2", "a3"):
        bench.agent(agent)
    for agents in (["a1"], ["a3"]):
        with bench.desk.db.write() as tx:
            dismiss(tx, agents)

    dismisser.tick()
    dismisser.tick()

    told = {agent: [m["kind"] for m in bench.broker.told[agent]] for agent in ("a1", "a2", "a3")}
    assert told == {"a1": ["drain"], "a2": [], "a3": ["drain"]}
