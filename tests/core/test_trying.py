"""`test_job`: the job as it would run, for a look."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchpilot.errors import DefinitionError, JobFailed, JobsNotFound
from batchpilot.ids import BatchpilotWarning
from batchpilot.registry.whole import load_registry
from batchpilot_agent.slot.seeds import job_seed

from .conftest import HandMade, Make


G01 = json.loads((Path(__file__).parents[1] / "golden" / "g01_lecture_map.json").read_text())


def draw(i: int, job: Any) -> tuple[Any, ...]:
    return i, job.id, job.seed, random.random(), float(np.random.random()), job.rng.random()  # noqa: NPY002, S311 - what a job may use


def fail(i: int) -> None:
    raise KeyError(f"no {i}")


def environment(i: int) -> tuple[str, ...]:  # noqa: ARG001 - jobs have one
    return os.getcwd(), os.environ["PYTHONHASHSEED"], os.environ["OMP_NUM_THREADS"]  # noqa: PTH109 - what a job sees


def leave(i: int) -> None:  # noqa: ARG001 - jobs have one
    os._exit(3)


def test_a_job_is_seeded_as_by_batchtools(hand_made: Make) -> None:
    reg = hand_made(draw, seed=1, i=range(1, 10)).registry

    assert [reg.test_job(job)[2] for job in range(1, 10)] == G01["job_seeds"]["value"]
    assert reg.test_job(4)[3] == random.Random(job_seed(1, 4)).random()  # noqa: S311 - the seed is the point


def test_a_job_draws_the_same_here_and_in_a_fresh_process(hand_made: Make) -> None:
    reg = hand_made(draw, seed=5, i=[7]).registry

    assert reg.test_job(1) == reg.test_job(1) == reg.test_job(1, external=True)


def test_the_sessions_own_numbers_go_on(hand_made: Make) -> None:
    reg = hand_made(draw).registry
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the generator a session may use
    expected = (random.random(), np.random.random(), random.random(), np.random.random())  # noqa: NPY002, S311 - as above
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - as above
    first = (random.random(), np.random.random())  # noqa: NPY002, S311 - as above
    reg.test_job(1)

    assert (*first, random.random(), np.random.random()) == expected  # noqa: NPY002, S311 - as above


def test_an_error_arrives_with_its_traceback(hand_made: Make) -> None:
    reg = hand_made(fail).registry

    with pytest.raises(KeyError, match="no 3") as caught:
        reg.test_job(3)
    assert caught.traceback[-1].name == "fail"


def test_a_fresh_process_says_what_went_wrong(
    hand_made: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    reg = hand_made(fail).registry

    with pytest.raises(
        JobFailed, match=r"test_job\(\) failed for job with id=3 .*re-run with external=False"
    ):
        reg.test_job(3, external=True)
    assert "KeyError: 'no 3'" in capfd.readouterr().err


def test_a_process_that_dies_is_told(hand_made: Make) -> None:
    with pytest.raises(JobFailed, match="exit code 3"):
        hand_made(leave).registry.test_job(1, external=True)


def test_a_fresh_process_is_as_an_agents(hand_made: Make, tmp_path: Path) -> None:
    assert hand_made(environment).registry.test_job(1, external=True) == (str(tmp_path), "0", "1")


def test_the_working_directory_is_the_registrys_and_given_back(
    hand_made: Make, tmp_path: Path
) -> None:
    before = Path.cwd()
    reg = hand_made(lambda i: os.getcwd()).registry  # noqa: ARG005, PTH109 - what a job sees

    assert reg.test_job(1) == str(tmp_path)
    assert Path.cwd() == before
    reg.work_dir = tmp_path / "gone"
    with pytest.raises(DefinitionError, match="is gone"):
        reg.test_job(1)


def test_nothing_is_changed_and_nothing_need_be_writeable(hand_made: Make) -> None:
    hand: HandMade = hand_made(lambda i, k: i * k, i=[1, 2, 3], k=10)
    with load_registry(hand.registry.file_dir, writeable=False) as reg:
        assert reg.test_job(3) == 30
        assert reg.get_status().submitted == 0
    with pytest.raises(JobsNotFound), pytest.warns(BatchpilotWarning):
        hand.registry.test_job(4)


def test_a_function_whose_module_is_gone_is_told(
    hand_made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside.py").write_text("def double(i):\n    return 2 * i\n")
    monkeypatch.syspath_prepend(tmp_path)
    from beside import double  # type: ignore[import-not-found]  # noqa: PLC0415 - it was made here

    reg = hand_made(double, i=[4]).registry
    assert reg.test_job(1) == reg.test_job(1, external=True) == 8
    monkeypatch.delitem(sys.modules, "beside")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    with pytest.raises(DefinitionError, match="No module named 'beside'"):
        reg.test_job(1)
