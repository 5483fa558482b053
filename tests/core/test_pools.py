"""Pools: what is one, what is refused, how they are kept."""

from __future__ import annotations

import os
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError
from batchpilot.pools import (
    LSF,
    PBS,
    SGE,
    SSH,
    External,
    Interactive,
    Local,
    Slurm,
    Torque,
    check_pools,
    from_records,
    make_pool,
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
        ([Local(slots=1, resources={"walltime": 60})], r"unknown resources \['walltime'\]"),
        ([Slurm(slots=0)], "pool slurm: slots=0 must be at least 1"),
        ([Slurm(slots=1.5)], "slots=1.5 must be a whole number"),  # type: ignore[arg-type]  # on purpose
        ([PBS(setup="module load gcc")], "setup='module load gcc' must be a list of lines"),
        (
            [PBS(directives_extra=["-l a", "x\n-l b"])],
            "directives_extra=.* must be a list of lines",
        ),
        ([LSF(env={"A B": "c"})], "env: 'A B': 'c' must be a variable's name and text"),
        ([LSF(env={"A": 1})], "env: 'A': 1 must be"),  # type: ignore[dict-item]  # on purpose
        ([SGE(resources={"queue": "a\nb"})], "resource queue='a.nb' must be a number or one line"),
        ([SGE(resources={"walltime": -1})], "resource walltime=-1 must be a positive number"),
        ([Torque(backlog=0)], "backlog=0 must be a whole number of at least 1"),
        ([Torque(throttle=-1)], "throttle=-1 must be at least 0"),
        ([Slurm(), Slurm(slots=2)], "different names"),
        ([SSH([])], "max_agents=0 must be at least 1"),
        ([SSH(["a", "a"])], "has one twice"),
        ([SSH(["-oProxyCommand=x"])], "must be names of hosts"),
        ([SSH("host")], "hosts='host' must be a list"),
        ([SSH(["a"], max_load=-1)], "max_load=-1 must be at least 0"),
        ([Slurm(grace=-1)], "grace=-1 must be at least 0"),
        ([SSH(["a"], grace="1m")], "grace='1m' must be at least 0"),  # type: ignore[arg-type]  # on purpose
        ([SSH(["a"], resources={"partition": "p"})], r"unknown resources \['partition'\]"),
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
        SSH(["n1", "n2"], slots=8, max_load=0.5),
        Slurm(slots=8, resources={"walltime": 3600, "partition": "main"}, setup=["module load R"]),
        PBS(directives_skip=["-l mem"], directives_extra=("-l place=free",), env={"A": "b"}),
        Torque(throttle=3, backlog=2, template="mine"),
        LSF(python="/usr/bin/python3"),
        SGE(name="other", idle_timeout=60, grace=120),
        External(name="kubernetes", slots=8, max_agents=50),
    ],
)
def test_a_pool_comes_back_from_its_record(pool: bp.pools.Pool) -> None:
    assert from_records(to_records([pool])) == check_pools(pool) == [pool]


def test_a_pool_of_hosts_has_an_agent_for_each_unless_told_otherwise() -> None:
    assert (SSH(["a", "b"]).max_agents, SSH(["a", "b"], max_agents=1).max_agents) == (2, 1)


def test_what_only_the_template_knows_is_told_apart() -> None:
    pool = Slurm(slots=4, resources={"ncpus": 8, "walltime": 60, "partition": "p", "qos": 2})

    assert (pool.ncpus, pool.walltime) == (8, 60.0)
    assert pool.variables == {"partition": "p", "qos": 2}


def test_an_option_that_is_lacking_is_told_by_name() -> None:
    with pytest.raises(DefinitionError, match=r"kind SSH: .*hosts"):
        make_pool({"kind": "SSH", "slots": 2})
