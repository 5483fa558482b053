"""The demo as a newcomer runs it, and runs it again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.conftest import Until

from batchpilot import control
from batchpilot.registry.whole import load_registry
from batchpilot.store.pages import read_column
from batchpilot_broker.paths import RegistryPaths


JOBS = 1001
REFUSED = 1001
REDONE = 150
PNG = b"\x89PNG\r\n\x1a\n"
CROWD = max(1.0, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) / (os.cpu_count() or 1))
"""How many tests share a core: the demo gets its share of this machine."""

WITHIN = 90.0 * CROWD
pytestmark = pytest.mark.timeout(WITHIN + 30)
RUN = "import sys; from batchpilot.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """Hold one run of the demo and what the registry held after it."""

    code: int
    out: str
    err: str
    seconds: float
    attempts: list[int]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run_python(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=where,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def run_demo(where: Path, *options: str) -> DemoRun:
    begun = time.monotonic()
    run = run_python(where, "-c", RUN, "demo", *options)
    return DemoRun(
        code=run.returncode,
        out=run.stdout,
        err=run.stderr,
        seconds=time.monotonic() - begun,
        attempts=attempts(where),
    )


def ended(where: Path) -> int:
    """Return how many jobs have ended; none where the registry is not there yet."""
    if not (where / "demo-registry").exists():
        return 0
    with load_registry(where / "demo-registry", writeable=False) as registry:
        status = registry.get_status()
    return status.done + status.error + status.expired


def attempts(where: Path) -> list[int]:
    with (
        load_registry(where / "demo-registry", writeable=False) as registry,
        registry.database.read() as view,
    ):
        numbers: list[int] = read_column(view.db, "attempt").tolist()
    return numbers


def processes_of(where: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(where) in word for word in process.info["cmdline"] or ())
    ]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(where: Path) -> DemoRun:
    return run_demo(where)


@pytest.fixture(scope="module")
def second(where: Path, first: DemoRun) -> DemoRun:
    assert first.code == 0, first.err
    (where / "demo-registry.png").unlink()
    return run_demo(where)


def table(out: str) -> list[str]:
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Accuracy in %"))
    return lines[start : start + 9]


def test_everything_but_the_one_job_works_within_90_seconds(first: DemoRun) -> None:
    assert first.code == 0, first.err
    assert first.seconds < WITHIN
    assert "Traceback" not in first.err
    assert f"Status for {JOBS} jobs at " in first.out
    assert "  ---- Done    : 1000 ( 99.9%)" in first.out
    assert "  ---- Error   :    1 (  0.1%)" in first.out
    assert f"{JOBS} jobs computed in this run" in first.out


def test_the_table_has_mean_and_spread_of_five_learners_on_four_data_sets(first: DemoRun) -> None:
    rows = [line for line in table(first.out) if "±" in line and "mean" not in line]

    assert len(rows) == 5
    assert all(len(re.findall(r"\d+\.\d ± \d+\.\d", row)) == 4 for row in rows)
    assert re.search(r"support vectors +9\d\.\d ± ", "\n".join(rows))


def test_the_job_that_must_fail_is_shown_with_traceback_and_log(first: DemoRun) -> None:
    assert f"Job {REFUSED} had to fail: nearest_neighbours with {{'k': 200}} on iris" in first.out
    assert "Traceback (most recent call last):" in first.out
    assert "ValueError: Expected n_neighbors <= n_samples_fit, but n_neighbors = 200" in first.out


def test_the_three_lines_of_python_work(where: Path, first: DemoRun) -> None:
    lines = re.findall(r"^  (.+)$", first.out.partition("Go on in Python:\n")[2], re.MULTILINE)

    run = run_python(where, "-c", "\n".join([*lines[:-1], f"print({lines[-1]})"]))

    assert len(lines) == 3
    assert run.returncode == 0, run.stderr
    assert re.search("breast_cancer +logistic_regression", run.stdout)


def test_the_second_run_computes_nothing_and_shows_the_same(
    where: Path, first: DemoRun, second: DemoRun
) -> None:
    assert second.code == 0
    assert "1000 done, 1 failed, 0 under way, 0 to submit" in second.out
    assert "Nothing is left to compute" in second.out
    assert "\n0 jobs computed in this run" in second.out
    assert table(second.out) == table(first.out)
    assert second.attempts == first.attempts
    assert min(first.attempts) == 1
    assert (where / "demo-registry.png").read_bytes().startswith(PNG)


def test_a_part_that_was_reset_is_all_that_is_computed_again(where: Path, second: DemoRun) -> None:
    with load_registry(where / "demo-registry") as registry:
        redone = registry.find_experiments(algo_name="random_forest")[:30]
        registry.reset_jobs(redone)

    third = run_demo(where)

    assert third.code == 0, third.err
    assert "970 done, 1 failed, 0 under way, 30 to submit" in third.out
    assert "\n30 jobs computed in this run" in third.out
    assert table(third.out) == table(second.out)
    changed = [i for i in range(JOBS) if third.attempts[i] != second.attempts[i]]
    assert changed == [job - 1 for job in redone]


def test_a_killed_demo_is_gone_on_with(where: Path, second: DemoRun, until: Until) -> None:
    assert second.code == 0, second.err
    with load_registry(where / "demo-registry") as registry:
        redone = registry.find_experiments(algo_name="random_forest")[:REDONE]
        registry.reset_jobs(redone)
    kept = ended(where)
    killed = subprocess.Popen(
        [sys.executable, "-c", RUN, "demo"],
        cwd=where,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: ended(where) > kept + REDONE // 10, WITHIN)
    killed.kill()
    killed.wait()
    before = ended(where)

    again = run_demo(where)
    control.stop(RegistryPaths(where / "demo-registry"))

    assert kept == JOBS - REDONE
    assert before < JOBS
    assert again.code == 0, again.err
    assert re.search(r"\d+ done, \d failed, \d+ under way, 0 to submit", again.out)
    computed = re.search(r"^(\d+) jobs computed in this run", again.out, re.MULTILINE)
    assert computed
    assert int(computed[1]) <= JOBS - before
    assert "The coordinator ran before" in again.out


def test_nothing_of_the_demo_is_left_running(where: Path, first: DemoRun, until: Until) -> None:
    assert first.code == 0

    until(lambda: processes_of(where) == [])  # who tidies up after an agent ends after it


def test_another_study_is_left_alone(tmp_path: Path) -> None:
    make = (
        "import batchpilot as bp; bp.make_registry('demo-registry').batch_map(abs, args={'x': [1]})"
    )
    assert run_python(tmp_path, "-c", make).returncode == 0

    refused = run_demo(tmp_path)

    assert refused.code == 1
    assert "Error: demo-registry holds another study\nRemedy: " in refused.err
    assert refused.attempts == [0]
