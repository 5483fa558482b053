"""Collecting results, the good and the bad ones."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from batchpilot.errors import (
    DefinitionError,
    JobFailed,
    JobNotDone,
    JobsNotFound,
    ResultUnreadable,
)
from batchpilot.ids import BatchpilotWarning
from batchpilot_broker.nouns import Outcome

from .conftest import HandMade, Make


G01 = json.loads((Path(__file__).parents[1] / "golden" / "g01_lecture_map.json").read_text())


@pytest.fixture
def three(hand_made: Make) -> HandMade:
    """Jobs 1-3 are done with results "a", "b", "c" in segments of two agents; 4 failed."""
    hand = hand_made(i=range(1, 7))
    hand.submit(range(1, 6))
    hand.done(3, "c", agent="a2")
    hand.done(1, "a")
    hand.done(2, "b")
    hand.error(4, "no way")
    hand.expired(5, "walltime of 1 s")
    return hand


def test_the_lecture_gives_the_results_of_batchtools(lecture: HandMade) -> None:
    reg = lecture.registry

    assert reg.reduce_results_list() == G01["reduceResultsList"]["value"]
    assert reg.load_result(1) == G01["loadResult_1"]["value"]
    assert reg.reduce_results(lambda a, b: a + b) == G01["reduce_sum"]["value"]
    assert reg.reduce_results_frame()["result"].dtype == int


def test_one_result_or_why_there_is_none(three: HandMade) -> None:
    reg = three.registry

    assert reg.load_result(2) == "b"
    with pytest.raises(JobFailed, match=r"ValueError: no way; see reg.get_log\(4\).*test_job"):
        reg.load_result(4)
    with pytest.raises(JobNotDone, match="job 5 expired: walltime of 1 s"):
        reg.load_result(5)
    with pytest.raises(JobNotDone, match="job 6 is not submitted"):
        reg.load_result(6)
    with pytest.raises(JobsNotFound), pytest.warns(BatchpilotWarning):
        reg.load_result(99)


def test_folding_goes_from_the_left_in_the_order_given(three: HandMade) -> None:
    reg = three.registry

    def join(so_far: str, result: str, sep: str = "") -> str:
        return f"{so_far}{sep}{result}"

    assert reg.reduce_results(join) == "abc"
    assert reg.reduce_results(join, [3, 1, 2]) == "cab"
    assert reg.reduce_results(join, [3, 1], init=">", sep="-") == ">-c-a"
    assert reg.reduce_results(join, []) is None
    assert reg.reduce_results(join, [], init="x") == "x"


def test_a_function_that_names_the_job_gets_it(three: HandMade) -> None:
    reg = three.registry

    def tell(so_far: str, result: str, job: Any) -> str:
        return f"{so_far} {result}{job.id}/{job.pars['i']}/{job.seed}"

    assert reg.reduce_results(tell, init="") == " a1/1/2 b2/2/3 c3/3/4"
    assert reg.reduce_results_list(fun=lambda x, job: (x, job.id)) == [
        *(("a", 1), ("b", 2), ("c", 3)),
    ]
    assert reg.reduce_results_list([2], len) == [1]


def test_a_list_keeps_the_order_and_can_fill_gaps(three: HandMade) -> None:
    reg = three.registry

    assert reg.reduce_results_list([3, 1]) == ["c", "a"]
    assert reg.reduce_results_list([6, 3, 4, 1], missing_val=None) == [None, "c", None, "a"]
    assert reg.reduce_results_list([]) == []
    for call in (reg.reduce_results_list, reg.iter_results, reg.reduce_results_frame):
        with pytest.raises(JobFailed, match=r"job 4 failed \(and 1 more have no result\)"):
            call([1, 4, 6])


def test_results_of_none_stay_none(hand_made: Make) -> None:
    hand = hand_made()
    hand.submit([1, 2])
    hand.done(1, None)
    hand.done(2, None)

    assert hand.registry.reduce_results_list() == [None, None]
    assert hand.registry.reduce_results_frame()["result"].tolist() == [None, None]
    assert hand.registry.reduce_results(lambda a, b: (a, b)) == (None, None)


def test_a_frame_is_sorted_and_typed(hand_made: Make) -> None:
    hand = hand_made()
    hand.submit(range(1, 4))
    for job, result in ((1, 1.5), (2, 2), (3, 3.5)):
        hand.done(job, result)
    frame = hand.registry.reduce_results_frame([3, 1, 2])

    assert frame["job_id"].tolist() == [1, 2, 3]
    assert frame["result"].tolist() == [1.5, 2.0, 3.5]
    assert frame["result"].dtype == float
    filled = hand.registry.reduce_results_frame([1, 9], missing_val="none")
    assert filled["result"].tolist() == [1.5, "none"]


def test_parameters_and_results_come_in_one_tidy_table(hand_made: Make) -> None:
    hand = hand_made(x=[1, 2], pair=[[1, 2], [3, 4]])
    hand.submit([1, 2])
    hand.done(1, {"mean": 0.5, "n": 3})
    hand.done(2, {"mean": 1.5, "n": 4})
    reg = hand.registry

    assert reg.results_frame().columns.tolist() == ["job_id", "x", "pair", "mean", "n"]
    assert reg.results_frame()["mean"].tolist() == [0.5, 1.5]
    assert reg.results_frame(unwrap=False).columns.tolist() == ["job_id", "job_pars", "result"]


def test_a_plain_result_has_a_column_of_its_own(lecture: HandMade) -> None:
    frame = lecture.registry.results_frame([9, 1])

    assert frame.to_dict("records") == [
        {"job_id": 1, "i": 1, "j": 9, "result": 10},
        {"job_id": 9, "i": 9, "j": 1, "result": 10},
    ]


def test_an_element_called_as_a_parameter_is_refused(hand_made: Make) -> None:
    hand = hand_made(x=[1])
    hand.submit([1])
    hand.done(1, {"x": 2})

    with pytest.raises(DefinitionError, match="duplicated column names: x"):
        hand.registry.results_frame()


def test_a_result_of_a_missing_module_hurts_only_itself(
    three: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("gone_module")
    exec("class Thing: pass", module.__dict__)  # noqa: S102 - a class in a module made here
    monkeypatch.setitem(sys.modules, "gone_module", module)
    body = pickle.dumps(module.Thing())
    three.end("a1", [(2, Outcome.DONE, body, ())])
    monkeypatch.delitem(sys.modules, "gone_module")
    reg = three.registry

    assert reg.load_result(1) == "a"
    with pytest.raises(ResultUnreadable, match=r"job 2 .*No module named 'gone_module'"):
        reg.load_result(2)
    with pytest.raises(ResultUnreadable, match="job 2"):
        reg.reduce_results_list()
    assert reg.reduce_results_list([1, 3]) == ["a", "c"]


def test_results_come_one_after_the_other(hand_made: Make) -> None:
    hand = hand_made(i=range(1, 31))
    hand.submit(range(1, 31))
    for job in np.random.default_rng(1).permutation(np.arange(1, 31)).tolist():
        hand.done(job, job * b"x" * 100_000, agent=f"a{job % 3}")
    found = hand.registry.iter_results(range(30, 0, -1))

    assert next(found) == (30, 30 * b"x" * 100_000)
    assert [(job, len(result)) for job, result in found] == [
        (job, job * 100_000) for job in range(29, 0, -1)
    ]
