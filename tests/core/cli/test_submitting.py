"""`submit` with its options, on registries whose jobs run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchpilot import pools
from batchpilot.registry.whole import Registry, make_registry

from .conftest import Call


def brittle(i: int, job: object) -> int:
    attempt: int = job.attempt  # type: ignore[attr-defined]  # the Job
    if attempt < i:
        raise ValueError("not yet")
    return attempt


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with make_registry(tmp_path / "study", seed=1) as made:
        made.pools = pools.Interactive()
        made.batch_map(brittle, i=[1, 2, 3, 1, 1])
        yield made


def test_a_number_of_retries_is_for_errors(registry: Registry, call: Call) -> None:
    assert call("submit", registry.file_dir, "1-3", "--retries", 1)[0] == 0

    assert registry.find_error() == [3]
    assert registry.reduce_results_list() == [1, 2]


def test_retries_can_be_given_for_each_kind(registry: Registry, call: Call) -> None:
    words = ("submit", registry.file_dir, "2", "-r", "memory=100")

    assert call(*words, "--retries", "error=1", "--retries", "memory=2")[0] == 0
    assert registry.find_done() == [2]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--retries", "often"), 2, "neither a number nor KIND=N"),
        (("--retries", "=2"), 2, "neither a number nor KIND=N"),
        (("--retries", "lost=2"), 1, "retries has no kind 'lost'"),
        (("--retries", "memory=2"), 1, "without a memory"),
        (("--after", "2"), 1, "job 2 cannot be waited for: it is not submitted"),
        (("--after", "somewhere"), 1, "selects no jobs"),
        (("--chunk", "0"), 2, "--chunk"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    registry: Registry, call: Call, words: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, err = call("submit", registry.file_dir, "1", *words)

    assert (ended, out) == (code, "")
    assert said in err
    assert len(registry.find_not_submitted()) == 5


def test_jobs_wait_for_a_selection_of_others(registry: Registry, call: Call) -> None:
    registry.submit_jobs(1)

    code, out, _ = call("submit", registry.file_dir, "4,5", "--after", "@done")

    assert (code, out) == (0, "2 jobs submitted\n")
    assert registry.find_done() == [1, 4, 5]


def test_so_many_jobs_at_a_time_make_a_chunk(registry: Registry, call: Call) -> None:
    assert call("submit", registry.file_dir, "--chunk", 2)[1] == "5 jobs submitted\n"

    with registry.database.read() as tx:
        assert tx.db.execute("SELECT chunked FROM submission").fetchall() == [(1,)]
