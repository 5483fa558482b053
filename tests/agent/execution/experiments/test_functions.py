"""What problem functions and algorithms are called with, and what becomes of their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from batchpilot.epochs import store_epoch
from batchpilot_agent.job import HandBack
from batchpilot_agent.manifest import Dependencies, StoredExport
from batchpilot_broker.frames import Kind


if TYPE_CHECKING:
    from tests.agent.execution.experiments.conftest import Lab

Experiment = Callable[..., bytes]


def names_all(job: Any, data: Any, n: int) -> tuple[Any, ...]:
    return job.id, data, n


def names_none(n: int) -> tuple[Any, ...]:
    return ("none", n)


def takes_anything(**rest: Any) -> tuple[Any, ...]:
    return tuple(sorted(rest))


@pytest.mark.parametrize(
    ("fun", "instance"),
    [
        pytest.param(names_all, (1, [1, 2], 5), id="all"),
        pytest.param(names_none, ("none", 5), id="none"),
        pytest.param(takes_anything, ("n",), id="kwargs"),
        pytest.param(lambda *, data, **rest: (data, rest), ([1, 2], {"n": 5}), id="data"),
    ],
)
def test_a_problem_function_gets_what_it_names(
    lab: Lab, experiment: Experiment, fun: Any, instance: Any
) -> None:
    lab.problem(fun, data=[1, 2]).algorithm()

    assert lab.value(experiment(prob_pars={"n": 5})) == instance


@pytest.mark.parametrize(
    ("fun", "result"),
    [
        pytest.param(lambda job, data, instance, k: (job.id, data, instance, k), (1, "d", "i", 2)),
        pytest.param(lambda k: k, 2, id="none"),
        pytest.param(lambda **rest: rest, {"k": 2}, id="kwargs"),
        pytest.param(lambda k, instance="other": (k, instance), (2, "i"), id="default"),
    ],
)
def test_an_algorithm_gets_what_it_names(
    lab: Lab, experiment: Experiment, fun: Any, result: Any
) -> None:
    lab.problem(lambda: "i", data="d").algorithm(fun)

    assert lab.value(experiment(algo_pars={"k": 2})) == result


def test_a_function_that_does_not_say_what_it_takes_gets_parameters_only(
    lab: Lab, experiment: Experiment
) -> None:
    lab.problem(dict, data="d").algorithm()

    assert lab.value(experiment(prob_pars={"n": 5})) == {"n": 5}


def test_the_job_tells_of_its_experiment(lab: Lab, experiment: Experiment) -> None:
    def tell(job: Any) -> tuple[Any, ...]:
        return job.problem, job.algorithm, job.repl, job.seed, job.instance_seed, job.pars

    lab.problem(lambda job, n: tell(job), seed=10)  # noqa: ARG005 - a parameter of the design
    lab.algorithm(lambda job, instance, k: (instance, tell(job), k))
    row = experiment(repl=3, prob_pars={"n": 5}, algo_pars={"k": 2})
    made, applied, _ = lab.value(row, ids=[4], seed=1)

    assert made == ("p", "a", 3, 5, 12, {"prob_pars": {"n": 5}, "algo_pars": {"k": 2}})
    assert applied == made


def test_without_a_problem_function_the_data_is_the_instance(lab: Lab) -> None:
    lab.problem(data={"x": 1}).algorithm(lambda instance, data: (instance, data))

    assert lab.value() == ({"x": 1}, {"x": 1})


def test_without_an_algorithm_the_instance_is_the_result(lab: Lab) -> None:
    assert lab.problem(lambda: 3).algorithm().value() == 3


def test_without_anything_the_result_is_none(lab: Lab) -> None:
    assert lab.problem().algorithm().value() is None


@pytest.fixture(params=["problem", "algorithm"])
def put(request: pytest.FixtureRequest, lab: Lab) -> Callable[[Callable[[], Any]], Lab]:
    """Give what makes a function the problem's, then the algorithm's; the other one is harmless."""

    def place(fun: Callable[[], Any]) -> Lab:
        in_problem = request.param == "problem"
        lab.problem(fun if in_problem else lambda: 1)
        return lab.algorithm(lambda: 1 if in_problem else fun())

    return place


def test_an_exception_is_the_jobs_error_with_its_traceback(
    put: Callable[..., Lab], experiment: Experiment
) -> None:
    def breaks() -> None:
        raise KeyError("no such thing")

    kind, message, traceback = put(breaks).run([experiment()])[0].error

    assert (kind, message) == ("KeyError", "'no such thing'")
    assert "in breaks" in traceback
    assert "batchpilot_agent" not in traceback


def test_a_job_can_be_handed_back_from_either_function(
    put: Callable[..., Lab], experiment: Experiment
) -> None:
    def gives_back() -> None:
        raise HandBack

    lab = put(gives_back)
    slot = lab.slot()

    assert slot.run([experiment(), experiment()]) == [1, "leave:handed back"]
    assert len(lab.agent.notes(Kind.HANDED_BACK)) == 1
    assert lab.agent.rows() == []


@pytest.mark.parametrize(
    ("problem", "algorithm", "told"),
    [
        pytest.param("q", "a", "no problem 'q'", id="problem"),
        pytest.param("p", "b", "no algorithm 'b'", id="algorithm"),
    ],
)
def test_what_was_not_submitted_is_told(
    lab: Lab, experiment: Experiment, problem: str, algorithm: str, told: str
) -> None:
    lab.problem().algorithm()
    kind, message, _ = lab.run([experiment(problem, algorithm)])[0].error

    assert kind == "batchpilot_agent.errors.EpochError"
    assert told in message


def test_exports_are_found_by_both_functions(lab: Lab, experiment: Experiment) -> None:
    def epoch() -> str:
        value = lab.agent.store.put(cloudpickle.dumps(7))
        dependencies = Dependencies(exports=(StoredExport("exported", value),))
        return store_epoch(
            lab.agent.store,
            lab.definition,
            work_dir=lab.agent.work_dir,
            dependencies=dependencies,
        )

    lab.problem(eval("lambda: exported", {})).algorithm(  # noqa: S307 - globals of its own
        eval("lambda instance: (instance, exported)", {})  # noqa: S307 - as above
    )
    template = lab.agent.start(epoch())
    assert template.hear() == ["ready"]
    template.fork().run([experiment()])

    assert lab.agent.rows()[0].value == (7, 7)
