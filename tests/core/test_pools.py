"""Pools: what is one, what is refused, how they are kept."""

from __future__ import annotations

import os
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError
from batchpilot.pools import (
    External,
    Interactive,
    Local,
    check_pools,
    from_records,
    to_records,
    usable_cores,
)

from .conftest import HandMade, Make


def test_the_default_is_a_local_pool_with_the_cores_this_process_may_use(hand_made: Make) -> None:
    registry = hand_made().registry

    assert registry.pools == [Local()]
    assert 1 <= Local().slots == usable_cores() <= len(os.sched_getaffinity(0))


def test_login_nodes_lend_at_most_four_cores(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "sbatch"
    command.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert usable_cores() <= 4


def test_pools_that_are_assigned_are_there_when_the_registry_is_loaded(hand_made: Make) -> None:
    registry = hand_made().registry
    chosen = [Local(slots=2, idle_timeout=5), Local(slots=1, name="other", resources={"gpus": 1})]

    registry.pools = chosen

    with bp.load_registry(registry.file_dir) as again:
        assert again.pools == chosen


def test_one_pool_need_not_be_in_a_list(hand_made: Make) -> None:
    registry = hand_made().registry

    registry.pools = Interactive(external=True)

    assert registry.pools == [Interactive(external=True)]


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ([], "different names"),
        ([Local(slots=1), Local(slots=2)], "different names"),
        (["local"], "'local' is not a pool"),
        ([Local(slots=1), Interactive()], "cannot be mixed"),
        ([Local(slots=0)], "slots=0 must be at least 1"),
        ([Local(slots=1, max_agents=0)], "max_agents=0 must be at least 1"),
        ([Local(slots=1, min_agents=3, max_agents=2)], "min_agents must be in"),
        ([Local(slots=1, idle_timeout=0)], "idle_timeout=0 must be positive"),
        ([Local(slots=1, resources={"cpu": 1})], r"unknown resources \['cpu'\]"),
        ([External(slots=1, max_agents=0)], "max_agents=0 must be at least 1"),
    ],
)
def test_what_can_be_no_set_of_pools_is_refused_and_nothing_is_changed(
    lecture: HandMade, pools: Any, message: str
) -> None:
    before = lecture.registry.pools

    with pytest.raises(DefinitionError, match=message) as caught:
        lecture.registry.pools = pools

    assert caught.value.remedy
    assert lecture.registry.pools == before


def test_an_agent_has_one_core_a_slot_unless_told_otherwise() -> None:
    assert (Local(slots=3).ncpus, Local(slots=3, resources={"ncpus": 6}).ncpus) == (3, 6)
    assert (Local(slots=3).memory, Local(slots=3).gpus) == (0.0, 0)


@pytest.mark.parametrize(
    "pool",
    [
        Local(slots=2, min_agents=1),
        Interactive(external=True),
        External(name="kubernetes", slots=8, max_agents=50),
    ],
)
def test_a_pool_comes_back_from_its_record(pool: bp.pools.Pool) -> None:
    assert from_records(to_records([pool])) == check_pools(pool) == [pool]
