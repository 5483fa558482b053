"""Resources: what may be asked for, and which class of jobs it makes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpilot.errors import NoSuchPool, SubmissionError
from batchpilot.pools import Interactive, Local, Slurm
from batchpilot.resources import check_servable, class_id, make_class
from batchpilot_broker.nouns import Isolation, ResourceClass


def test_nothing_asked_for_is_one_core_without_limits() -> None:
    assert make_class({}, 0) == ResourceClass()


def test_every_name_that_is_known_is_understood() -> None:
    given_resources = {
        "walltime": 3600,
        "memory": 2000,
        "ncpus": 4,
        "gpus": 1,
        "omp_threads": 2,
        "blas_threads": 3,
        "measure_memory": True,
        "pool": "local",
        "isolation": "process",
    }

    assert make_class(given_resources, 5) == ResourceClass(
        walltime=3600.0,
        memory=2000.0,
        ncpus=4,
        gpus=1,
        threads=(2, 3),
        measure_memory=True,
        pool="local",
        isolation=Isolation.PROCESS,
        priority=5,
    )


def test_other_names_are_variables_of_job_scripts_sorted() -> None:
    made = make_class({"partition": "long", "account": "x1"}, 0)

    assert made.template == (("account", "x1"), ("partition", "long"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ncpus", 0),
        ("ncpus", 1.5),
        ("ncpus", True),
        ("omp_threads", 0),
        ("blas_threads", "2"),
        ("walltime", 0),
        ("walltime", -1),
        ("walltime", "1h"),
        ("memory", 0),
        ("memory", True),
        ("gpus", -1),
        ("measure_memory", 1),
        ("pool", 7),
        ("isolation", "none"),
    ],
)
def test_an_impossible_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(SubmissionError, match=f"{name}=.*must be") as caught:
        make_class({name: value}, 0)

    assert caught.value.remedy


def test_a_value_that_no_job_script_could_show_is_refused() -> None:
    with pytest.raises(SubmissionError, match="numbers, strings, lists or maps"):
        class_id(make_class({"account": object()}, 0))


def test_the_class_does_not_depend_on_the_order_of_names() -> None:
    one = make_class({"walltime": 10, "account": "x", "memory": 5}, 0)
    other = make_class({"memory": 5, "account": "x", "walltime": 10.0}, 0)

    assert class_id(one) == class_id(other)
    assert len(class_id(one)) == 12


@pytest.mark.parametrize(
    "difference", [{"walltime": 11}, {"memory": 6}, {"account": "y"}, {"isolation": "slot"}]
)
def test_any_difference_makes_another_class(difference: dict[str, Any]) -> None:
    base = {"walltime": 10, "memory": 5, "account": "x"}

    assert class_id(make_class(base, 0)) != class_id(make_class({**base, **difference}, 0))
    assert class_id(make_class(base, 0)) != class_id(make_class(base, 1))


@given(
    st.builds(
        ResourceClass,
        ncpus=st.integers(1, 64),
        memory=st.floats(0, 1e6),
        walltime=st.floats(0, 1e6),
        threads=st.tuples(st.integers(1, 8), st.integers(1, 8)),
        isolation=st.sampled_from(Isolation),
        template=st.lists(st.tuples(st.text(max_size=5), st.integers()), max_size=3).map(tuple),
    )
)
def test_a_class_comes_back_from_the_wire(made: ResourceClass) -> None:
    assert ResourceClass.from_wire(made.to_wire()) == made


SMALL = Local(slots=2, resources={"ncpus": 2, "memory": 100})
LARGE = Local(slots=8, resources={"ncpus": 8, "memory": 1000, "gpus": 1}, name="large")


@pytest.mark.parametrize(
    "needed",
    [
        ResourceClass(),
        ResourceClass(ncpus=8, memory=1000, gpus=1),
        ResourceClass(pool="local", ncpus=2),
        ResourceClass(walltime=1e9),
    ],
)
def test_what_one_pool_can_serve_is_taken(needed: ResourceClass) -> None:
    check_servable(needed, [SMALL, LARGE])


@pytest.mark.parametrize(
    ("needed", "reason"),
    [
        (ResourceClass(ncpus=9), "large: ncpus=9 but its agents have 8"),
        (ResourceClass(memory=2000), "local: memory=2000 but its agents have 100"),
        (ResourceClass(gpus=2), "large: gpus=2 but its agents have 1"),
        (ResourceClass(pool="local", ncpus=4), "local: ncpus=4 but its agents have 2"),
        (ResourceClass(pool="slurm"), "the jobs ask for pool 'slurm'"),
    ],
)
def test_what_no_pool_can_ever_serve_is_refused_with_each_pools_reason(
    needed: ResourceClass, reason: str
) -> None:
    with pytest.raises(NoSuchPool, match=reason) as caught:
        check_servable(needed, [SMALL, LARGE])

    assert "local: " in str(caught.value)
    assert "large: " in str(caught.value)
    assert caught.value.remedy


def test_memory_is_no_limit_where_a_pool_does_not_know_its_own() -> None:
    check_servable(ResourceClass(memory=1e6), [Local(slots=1)])


@pytest.mark.parametrize(
    ("grace", "longest"), [(0.0, 3555.0), (10.0, 3555.0), (20.0, 3555.0), (300.0, 3275.0)]
)
def test_a_job_must_end_before_its_agent_begins_to_leave(grace: float, longest: float) -> None:
    pool = Slurm(slots=1, grace=grace, resources={"walltime": 3600})
    check_servable(ResourceClass(walltime=longest), [pool])

    with pytest.raises(NoSuchPool, match=f"{3600 - longest:g} of them to come and to go"):
        check_servable(ResourceClass(walltime=longest + 1), [pool])


def test_interactive_takes_everything() -> None:
    check_servable(ResourceClass(ncpus=999, memory=1e9), [Interactive()])
