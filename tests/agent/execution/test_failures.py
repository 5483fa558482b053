"""Whatever a job does wrong is told as its error, and costs nothing else."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchpilot_agent.failures import MESSAGE_LIMIT, TRACEBACK_LIMIT


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent, Row


def outcome(agent: Agent, fun: Any, *values: Any) -> Row:
    slot = agent.slot(fun)

    assert slot.run([values, values])[0] == 2

    first, second = agent.rows()

    assert first.outcome == second.outcome
    return first


def test_an_exception_is_told_with_the_users_frames_only(agent: Agent) -> None:
    def inner(x: int) -> None:
        raise KeyError("lost", x)

    def outer(x: int) -> None:
        inner(x)

    kind, message, traceback = outcome(agent, outer, 3).error

    assert (kind, message) == ("KeyError", "('lost', 3)")
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert "in outer" in traceback
    assert "in inner" in traceback
    assert "batchpilot_agent" not in traceback


def test_causes_are_told(agent: Agent) -> None:
    def fail(x: int) -> None:
        try:
            x / 0
        except ZeroDivisionError as error:
            raise RuntimeError("afterwards") from error

    _, _, traceback = outcome(agent, fail, 1).error

    assert "ZeroDivisionError: division by zero" in traceback
    assert "direct cause" in traceback
    assert "batchpilot_agent" not in traceback


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(SystemExit(3), "SystemExit", id="exit"),
        pytest.param(KeyboardInterrupt(), "KeyboardInterrupt", id="interrupt"),
        pytest.param(GeneratorExit(), "GeneratorExit", id="generator"),
        pytest.param(RecursionError("deep"), "RecursionError", id="recursion"),
    ],
)
def test_exceptions_that_end_programs_are_errors_of_the_job(
    agent: Agent, error: BaseException, kind: str
) -> None:
    def fail(x: int) -> None:
        raise error

    assert outcome(agent, fail, 1).error[0] == kind


def test_an_exception_with_broken_methods_is_told(agent: Agent) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise ValueError

        def __repr__(self) -> str:
            raise ValueError

        def __reduce__(self) -> Any:
            raise ValueError

    def fail(x: int) -> None:
        raise BrokenError

    kind, message, traceback = outcome(agent, fail, 1).error

    assert kind.endswith("BrokenError")
    assert message == "<its message cannot be shown: ValueError>"
    assert "in fail" in traceback


def test_long_messages_and_tracebacks_are_cut(agent: Agent) -> None:
    def fail(x: int) -> None:
        raise ValueError("y" * x + "end\udcff")

    _, message, traceback = outcome(agent, fail, 1_000_000).error

    assert len(message) < MESSAGE_LIMIT + 100
    assert message.endswith("end\\udcff")
    assert "characters left out" in message
    assert len(traceback) < TRACEBACK_LIMIT + 100


def test_a_result_that_cannot_be_pickled_is_the_jobs_error(agent: Agent) -> None:
    def lock(x: int) -> Any:
        import threading  # noqa: PLC0415 - as in a job

        return {"fine": x, "lock": threading.Lock()}

    kind, message, _ = outcome(agent, lock, 1).error

    assert kind == "batchpilot_agent.errors.CannotPickle"
    assert message.startswith("result of type dict cannot be pickled: cannot pickle")


def test_a_result_whose_pickling_fails_leaves_the_pickler_whole(agent: Agent) -> None:
    class Odd:
        def __init__(self, x: int) -> None:
            self.x = x

        def __reduce__(self) -> Any:
            if self.x:
                raise OSError("no")
            return (dict, ())

    slot = agent.slot(lambda x: [Odd(x), {"a": [1]}])
    slot.run([(1,), (0,), (1,), (0,)])
    rows = agent.rows()

    assert [row.outcome for row in rows] == [2, 1, 2, 1]
    assert rows[3].value == [{}, {"a": [1]}]


def test_results_of_any_type_come_back(agent: Agent) -> None:
    def make(x: int) -> Any:
        import decimal  # noqa: PLC0415 - as in a job

        class Local:
            value = x

        return [None, True, 1.5, "t", b"b", {"k": (x,)}, decimal.Decimal(x), Local, lambda: x][x]

    slot = agent.slot(make)
    slot.run([(i,) for i in range(9)])
    values = [row.value for row in agent.rows()]

    assert values[:7] == [None, True, 1.5, "t", b"b", {"k": (5,)}, 6]
    assert values[7].value == 7
    assert values[8]() == 8


def test_parameters_that_cannot_be_unpickled_are_the_jobs_error(agent: Agent) -> None:
    slot = agent.slot(lambda x: x)
    slot.run([b"\x80\x05cmissing_module\nThing\n.", (2,)])
    bad, good = agent.rows()

    assert bad.error[:2] == ["ModuleNotFoundError", "No module named 'missing_module'"]
    assert good.value == 2


def test_wrong_arguments_are_the_jobs_error(agent: Agent) -> None:
    kind, message, _ = outcome(agent, lambda: 1, 5).error

    assert kind == "TypeError"
    assert "argument" in message
