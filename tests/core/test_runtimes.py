"""Estimates of run times: what is observed, what is estimated, and how that is printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import cloudpickle
import numpy as np
import pandas as pd
import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError
from batchpilot.notices import BatchpilotWarning
from batchpilot_broker.nouns import Outcome

from .conftest import ENDED, HandMade, Make


DAY = 86_400.0


def done_in(hand: HandMade, seconds: Mapping[int, float]) -> None:
    """End jobs that have run for so many seconds."""
    hand.submit(list(seconds))
    for job, ran in seconds.items():
        hand.end("a1", [(job, Outcome.DONE, cloudpickle.dumps(0), ())], started=ENDED - ran)


def estimate_of(observed: list[float], estimated: list[float]) -> bp.RuntimeEstimate:
    kinds = ["observed"] * len(observed) + ["estimated"] * len(estimated)
    runtimes = pd.DataFrame(
        {
            "job_id": range(1, len(kinds) + 1),
            "type": pd.Categorical(kinds),
            "runtime": [*observed, *estimated],
        }
    )
    return bp.RuntimeEstimate(runtimes=runtimes, model=None)


@pytest.fixture
def study(hand_made: Make) -> HandMade:
    """Give 60 jobs: the slow algorithm takes 100 s and more, growing with n, the fast one 1 s."""
    return hand_made(
        None, args=bp.grid(algorithm=["slow", "fast"], n=list(range(10)), repl=[1, 2, 3])
    )


def seconds_of(study: HandMade) -> dict[int, float]:
    """Return how long each job runs."""
    pars = bp.unwrap(study.registry.get_job_pars())
    rows = zip(pars["job_id"], pars["algorithm"], pars["n"], strict=True)
    return {job: 100.0 + n if algorithm == "slow" else 1.0 for job, algorithm, n in rows}


@pytest.fixture
def half_done(study: HandMade) -> HandMade:
    """Give the study with every second job done."""
    done_in(study, dict(list(seconds_of(study).items())[::2]))
    return study


def test_every_job_has_a_run_time_observed_or_estimated(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    found = bp.estimate_runtimes(table, half_done.registry)

    assert list(found.runtimes) == ["job_id", "type", "runtime"]
    assert found.runtimes["job_id"].tolist() == list(range(1, 61))
    assert found.runtimes["type"].tolist() == ["observed", "estimated"] * 30
    assert found.runtimes["runtime"].notna().all()


def test_observed_run_times_are_those_of_the_jobs(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    runtimes = bp.estimate_runtimes(table, half_done.registry).runtimes
    observed = runtimes[runtimes["type"] == "observed"].set_index("job_id")["runtime"]

    expected = seconds_of(half_done)
    assert np.allclose(observed, [expected[job] for job in observed.index], atol=1e-3)


def test_groups_that_run_long_are_predicted_longer(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    runtimes = bp.estimate_runtimes(table, half_done.registry).runtimes.merge(table)
    mean = runtimes[runtimes["type"] == "estimated"].groupby("algorithm")["runtime"].mean()

    assert mean["slow"] > 90
    assert mean["fast"] < 20


def test_missing_values_and_odd_columns_are_no_obstacle(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    table["algorithm"] = table["algorithm"].where(table["job_id"] % 7 > 0, None)
    table["n"] = table["n"].astype(float).where(table["job_id"] % 5 > 0)
    table["size"] = np.where(table["job_id"] % 3, np.inf, -1e300)
    table["when"] = pd.Timestamp("2024-01-01")
    table["flag"] = table["job_id"] % 2 == 0
    table["many"] = [f"value {i}" for i in range(len(table))]
    table["list"] = [[i] for i in range(len(table))]
    found = bp.estimate_runtimes(table, half_done.registry)

    assert np.isfinite(found.runtimes["runtime"]).all()


def test_the_model_predicts_for_jobs_that_are_not_there(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    model = bp.estimate_runtimes(table, half_done.registry).model
    new = pd.DataFrame({"algorithm": ["slow", "fast", "unheard of"], "n": 4, "repl": 9})
    slow, fast, other = model.predict(new)

    assert slow > 90 > fast
    assert np.isfinite(other)


def test_the_same_table_gives_the_same_estimate(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    np.random.seed(1)  # noqa: NPY002 - the session's own generator
    drawn = np.random.random()  # noqa: NPY002 - as above
    np.random.seed(1)  # noqa: NPY002 - as above
    first, second = (bp.estimate_runtimes(table, half_done.registry).runtimes for _ in range(2))

    assert first.equals(second)
    assert np.random.random() == drawn  # noqa: NPY002 - as above


def test_options_go_to_the_forest(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars())
    model = bp.estimate_runtimes(table, half_done.registry, n_estimators=7).model

    assert len(model[-1].estimators_) == 7


def test_nothing_remains_when_all_is_done(study: HandMade) -> None:
    done_in(study, seconds_of(study))
    table = bp.unwrap(study.registry.get_job_pars())
    found = bp.estimate_runtimes(table, study.registry)

    assert set(found.runtimes["type"]) == {"observed"}
    assert [line.split(":")[0].strip() for line in str(found).splitlines()[1:]] == ["Done", "Total"]


def test_only_jobs_in_the_table_count(half_done: HandMade) -> None:
    table = bp.unwrap(half_done.registry.get_job_pars()).iloc[[5, 2, 3]]

    assert bp.estimate_runtimes(table, half_done.registry).runtimes["job_id"].tolist() == [3, 4, 6]


def test_rows_of_no_job_are_dropped_with_a_warning(half_done: HandMade) -> None:
    table = pd.DataFrame({"job_id": [1, 2, 999], "n": [1, 2, 3]})
    with pytest.warns(BatchpilotWarning, match="Ignoring 1 invalid"):
        found = bp.estimate_runtimes(table, half_done.registry)

    assert found.runtimes["job_id"].tolist() == [1, 2]


def test_a_failed_job_is_no_observation(study: HandMade) -> None:
    done_in(study, {1: 100.0, 2: 100.0})
    study.submit([3])
    study.error(3)
    table = bp.unwrap(study.registry.get_job_pars([1, 2, 3]))
    runtimes = bp.estimate_runtimes(table, study.registry).runtimes

    assert runtimes["type"].tolist() == ["observed", "observed", "estimated"]
    assert runtimes["runtime"][2] == pytest.approx(100.0, abs=1e-3)


def test_without_a_job_that_is_done_there_is_nothing_to_learn_from(study: HandMade) -> None:
    table = bp.unwrap(study.registry.get_job_pars())

    with pytest.raises(DefinitionError, match=r"No training data available\. Some jobs must be"):
        bp.estimate_runtimes(table, study.registry)


def test_a_table_without_columns_to_learn_from_is_refused(half_done: HandMade) -> None:
    with pytest.raises(DefinitionError, match="no columns to learn from"):
        bp.estimate_runtimes(pd.DataFrame({"job_id": [1, 2]}), half_done.registry)


def test_a_table_that_is_not_unwrapped_is_refused(half_done: HandMade) -> None:
    with pytest.raises(DefinitionError, match=r"'job_pars' holds dicts; spread it with bp.unwrap"):
        bp.estimate_runtimes(half_done.registry.get_job_pars(), half_done.registry)


def test_what_is_no_table_of_jobs_is_refused(half_done: HandMade) -> None:
    with pytest.raises(DefinitionError, match="column job_id is needed"):
        bp.estimate_runtimes({"n": [1]}, half_done.registry)


def test_it_is_printed_as_the_original_prints_it() -> None:
    estimate = estimate_of([3600.0, 61.5], [10.0, 20.0, 30.0])

    assert str(estimate).splitlines() == [
        "Runtime Estimate for 5 jobs with 1 CPUs",
        "  Done     : 0d 01h 01m 1.5s",
        "  Remaining: 0d 00h 01m 0.0s",
        "  Parallel : 0d 00h 01m 0.0s",
        "  Total    : 0d 01h 02m 1.5s",
    ]


def test_parallel_is_the_time_of_the_processor_with_most_to_do() -> None:
    lines = estimate_of([0.0], [10.0, 40.0, 20.0, 30.0]).summary(n=2).splitlines()

    assert lines[0] == "Runtime Estimate for 5 jobs with 2 CPUs"
    assert lines[3] == "  Parallel : 0d 00h 00m 50.0s"


def test_days_have_the_digits_of_the_total() -> None:
    lines = str(estimate_of([DAY], [11 * DAY])).splitlines()

    assert lines[1] == "  Done     : 01d 00h 00m 0.0s"
    assert lines[-1] == "  Total    : 12d 00h 00m 0.0s"


@pytest.mark.parametrize("n", [0, 1.5])
def test_processors_are_a_positive_whole_number(n: int) -> None:
    with pytest.raises(DefinitionError, match="n_chunks"):
        estimate_of([1.0], [2.0]).summary(n=n)


def test_without_scikit_learn_the_extra_is_named(half_done: HandMade) -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"  # as where it is not installed
        "import batchpilot as bp\n"
        f"reg = bp.load_registry({str(half_done.registry.file_dir)!r}, writeable=False)\n"
        "bp.estimate_runtimes(bp.unwrap(reg.get_job_pars()), reg)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "pip install 'batchpilot[estimate]'" in ended.stderr.splitlines()[-1]
