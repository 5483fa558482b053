"""What jobs find in their environment because their order says so."""

from __future__ import annotations

import os

from .conftest import Agent


def seen(x: str) -> str | None:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = f"changed by {x}"
    return before


def test_each_order_has_its_own_devices_whatever_the_last_job_did(agent: Agent) -> None:
    slot = agent.slot(seen)

    slot.run([("a",), ("b",)], ids=[1, 2], variables={"CUDA_VISIBLE_DEVICES": "0"})
    slot.run([("c",)], ids=[3], variables={"CUDA_VISIBLE_DEVICES": "1,2"})
    slot.run([("d",)], ids=[4])

    assert [row.value for row in agent.rows()] == ["0", "0", "1,2", "1,2"]
