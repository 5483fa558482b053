"""Jobs that do to their process what can be done: each gets its reason, the next a clean slot."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.end_to_end.conftest import MakeStudy, numbers

import batchpilot as bp

from . import jobs


TURNS = ["look", *(word for kind in jobs.KINDS for word in (kind, "look"))]
IDS = {kind: at for at, kind in enumerate(TURNS, 1) if kind != "look"}


@pytest.fixture(scope="module")
def careless(make_shared: MakeStudy) -> bp.Registry:
    """Give a registry in which all kinds have run in one slot, a look between each two."""
    registry = make_shared("careless", pool=bp.pools.Local(slots=1))
    registry.batch_map(jobs.run, kind=TURNS, turn=range(1, len(TURNS) + 1))
    registry.submit_jobs(None, {"isolation": "slot"})
    assert not registry.wait_for_jobs(timeout=60, progress=False)
    return registry


def seen(registry: bp.Registry, kind: str) -> dict[str, Any]:
    """Return how the job behind one of a kind found the process."""
    found: dict[str, Any] = registry.load_result(IDS[kind] + 1)
    return found


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_a_careless_job_gets_its_own_ending_and_reason(careless: bp.Registry, kind: str) -> None:
    ending = jobs.ENDINGS[jobs.KINDS[kind]]

    if not ending:
        assert careless.load_result(IDS[kind]) == IDS[kind]
    else:
        message = str(careless.get_error_messages(IDS[kind])["message"].iloc[0])
        assert message.startswith(ending)


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_the_next_job_finds_a_clean_slot(careless: bp.Registry, kind: str) -> None:
    first = {**careless.load_result(1), "draw": None}

    assert {**seen(careless, kind), "draw": None} == first


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_the_next_job_draws_what_its_seed_says(careless: bp.Registry, kind: str) -> None:
    job = IDS[kind] + 1
    expected = random.Random(careless.seed + job).random()  # noqa: S311 - the job's

    assert seen(careless, kind)["draw"] == expected


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_the_next_job_runs_once_and_its_log_is_its_own(careless: bp.Registry, kind: str) -> None:
    job = IDS[kind] + 1

    assert careless.get_log(job) == []
    assert numbers(careless, "charged")[job - 1] == 0


def test_what_c_has_not_flushed_is_in_the_log_of_its_job(careless: bp.Registry) -> None:
    assert careless.get_log(IDS["print_from_c_without_a_flush"]) == ["from C"]


def test_what_a_program_prints_shortly_after_is_in_the_log_of_its_job(
    careless: bp.Registry,
) -> None:
    assert careless.get_log(IDS["end_shortly_after_in_the_background"]) == ["soon"]


def test_what_a_thread_prints_after_its_job_is_in_the_agents_log_and_in_no_other_jobs(
    make_study: MakeStudy,
) -> None:
    count = 24  # of each the moment between its job's end and its slot's is short
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(jobs.write_on, i=range(1, count + 1))
    registry.submit_jobs(None, {"isolation": "slot"})
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    said = [log.read_text() for log in registry.paths.logs.glob("local-*.log")]

    for i in range(1, count + 1):  # the last line may be cut off in the middle
        assert all(f"thread of {i}".startswith(line) for line in registry.get_log(i))
    assert any("thread of " in text for text in said)


def test_a_stack_overflow_shows_where_it_happened(careless: bp.Registry) -> None:
    log = careless.get_log(IDS["recurse_in_c"])

    assert log[0] == "Fatal Python error: Segmentation fault"
    assert any("in _deeper" in line for line in log)


def test_a_process_a_job_keeps_changes_of_any_module_from_the_next(make_study: MakeStudy) -> None:
    """In a warm slot attributes of modules persist: see `restore.py`."""

    def patch(i: int) -> bool:  # noqa: ARG001 - jobs need a parameter
        import builtins  # noqa: PLC0415 - inside the job
        import json  # noqa: PLC0415 - as above

        clean = hasattr(json, "dumps") and hasattr(builtins, "sorted")
        del json.dumps, builtins.sorted
        return clean

    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(patch, i=range(6))
    registry.submit_jobs(None, {"isolation": "process"})

    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    assert all(registry.reduce_results_list())
