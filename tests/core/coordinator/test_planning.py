"""How many agents are asked for: demand by variables, never more than the pool may have."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchpilot.coordinator.planning import demand_of, shortage_of, surplus_of
from batchpilot.pools import Slurm
from batchpilot.store.allocations import Pilot, Stage, variables_key
from batchpilot_broker.nouns import ResourceClass


USUAL = variables_key({})


def pilots(n: int, stage: Stage = Stage.QUEUED, key: str = USUAL, first: int = 1) -> list[Pilot]:
    return [
        Pilot(
            allocation="a",
            number=number,
            pool="slurm",
            kind="Slurm",
            variables=key,
            submitted=0.0,
            stage=stage,
        )
        for number in range(first, first + n)
    ]


def test_agents_are_as_many_as_the_jobs_keep_busy() -> None:
    pool = Slurm(slots=4, resources={"ncpus": 8})
    small, large = ResourceClass(), ResourceClass(ncpus=4)

    assert demand_of(pool, [(small, 9)]) == {USUAL: 3}
    assert demand_of(pool, [(large, 9)]) == {USUAL: 5}
    assert demand_of(pool, [(small, 2), (large, 1)]) == {USUAL: 1}


def test_jobs_that_do_not_fit_want_no_agent() -> None:
    pool = Slurm(slots=1, resources={"walltime": 100}, min_agents=1)

    assert demand_of(pool, [(ResourceClass(walltime=99.0), 5)]) == {}
    assert demand_of(pool, [(ResourceClass(pool="other"), 5)]) == {}
    assert demand_of(pool, [(ResourceClass(walltime=50.0), 5)]) == {
        variables_key(pool.variables): 5
    }


def test_jobs_with_other_variables_get_agents_of_their_own() -> None:
    pool = Slurm(slots=1, resources={"partition": "main"})
    long = ResourceClass(template=(("partition", "long"),))
    usual, other = variables_key({"partition": "main"}), variables_key({"partition": "long"})

    assert demand_of(pool, [(ResourceClass(), 2), (long, 3)]) == {usual: 2, other: 3}


def test_some_agents_are_kept_while_there_is_work() -> None:
    pool = Slurm(slots=10, min_agents=3, max_agents=5)

    assert demand_of(pool, []) == {}
    assert demand_of(pool, [(ResourceClass(), 1)]) == {USUAL: 3}


def test_agents_in_the_queue_are_supply() -> None:
    pool = Slurm(max_agents=10)

    assert shortage_of(pool, {USUAL: 7}, pilots(3) + pilots(2, Stage.RUNNING, first=4)) == {
        USUAL: 2
    }
    assert shortage_of(pool, {USUAL: 5}, pilots(5, Stage.SUBMITTING)) == {}


def test_no_more_wait_than_the_backlog_allows() -> None:
    pool = Slurm(max_agents=10, backlog=2)

    assert shortage_of(pool, {USUAL: 9}, []) == {USUAL: 2}
    assert shortage_of(pool, {USUAL: 9}, pilots(1)) == {USUAL: 1}
    assert shortage_of(pool, {USUAL: 9}, pilots(4, Stage.RUNNING)) == {USUAL: 2}


def test_the_last_ones_in_the_queue_are_surplus_and_never_those_that_run() -> None:
    queued, running = pilots(3), pilots(2, Stage.RUNNING, first=4)

    assert surplus_of({USUAL: 4}, queued + running) == queued[2:]
    assert surplus_of({}, queued + running) == queued
    assert surplus_of({USUAL: 5}, queued + running) == []


@given(
    demand=st.dictionaries(st.sampled_from("abc"), st.integers(0, 50)),
    supply=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Stage)[:3]))),
    most=st.integers(1, 20),
    backlog=st.none() | st.integers(1, 20),
)
def test_a_pool_never_has_more_than_it_may_nor_more_than_it_needs(
    demand: dict[str, int], supply: list[tuple[str, Stage]], most: int, backlog: Any
) -> None:
    pool = Slurm(max_agents=most, backlog=backlog)
    there = [pilots(1, stage, key)[0] for key, stage in supply]

    short = shortage_of(pool, demand, there)

    assert all(n > 0 for n in short.values())
    assert not short or len(there) + sum(short.values()) <= most
    waiting = sum(p.stage is not Stage.RUNNING for p in there)
    assert not short or backlog is None or waiting + sum(short.values()) <= backlog
    for key, n in short.items():
        assert n + sum(p.variables == key for p in there) <= demand[key]
