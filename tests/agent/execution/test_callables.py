"""What stands between a job and the user's function, by itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from batchpilot_agent.callables import Applying, Continuing, Folding, Wrapping
from batchpilot_agent.job import Job
from batchpilot_agent.objects import ObjectStore


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "objects").mkdir()
    return Job(
        id=1,
        attempt=1,
        pars={"_id": 7, "k": 2, "_result": b""},
        resources={},
        seed=2,
        stream=(1, (0, 1)),
        registry=tmp_path,
    )


def add(aggr: Any, x: Any, **named: Any) -> Any:
    return aggr + x + sum(named.values())


def test_a_fold_is_that_of_functools() -> None:
    assert Folding(add)([1, 2, 3]) == 6
    assert Folding(add, pickle.dumps(10))([1, 2, 3]) == 16


def test_named_values_go_to_every_call_of_a_fold() -> None:
    assert Folding(add, pickle.dumps(0))([1, 2], y=100) == 203


def test_every_fold_begins_with_an_object_of_its_own() -> None:
    fold = Folding(lambda aggr, x: aggr.append(x) or aggr, pickle.dumps([]))

    assert (fold([1]), fold([2])) == ([1], [2])


def test_a_result_is_unpickled_from_the_jobs_own_values_or_from_its_object(job: Job) -> None:
    call = Continuing(lambda result, k: (result, k))
    stored = ObjectStore(job.registry / "objects").put(pickle.dumps("large"))

    assert call(pickle.dumps("small"), job=job, _id=7, k=2) == ("small", 2)
    assert call(stored, job=job, _id=7, k=2) == ("large", 2)


def test_the_job_is_passed_on_without_the_result_it_carries(job: Job) -> None:
    call = Continuing(lambda result, job: (result, job.pars, job.id), passes_job=True)

    assert call(pickle.dumps(0), job=job, _id=7) == (0, {"_id": 7, "k": 2}, 1)


def test_a_result_that_cannot_be_unpickled_says_whose_it_is(job: Job) -> None:
    with pytest.raises(pickle.UnpicklingError) as caught:
        Continuing(lambda result: result)(b"garbage", job=job, _id=7)

    assert caught.value.__notes__ == ["while the result of job 7 of the source was unpickled"]


@pytest.mark.parametrize("wrapped", [Applying(add), Folding(add, b"x"), Continuing(add)])
def test_they_go_by_name_and_keep_their_function(wrapped: Wrapping) -> None:
    sent = cloudpickle.dumps(wrapped)

    assert pickle.loads(sent) == wrapped  # noqa: S301 - made above
    assert b"batchpilot_agent.callables" in sent


def test_unpickling_them_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "sqlite3", "rq", "redis", "batchpilot"}
    code = "import sys, batchpilot_agent.callables; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout

    assert not heavy & set(loaded.split())
