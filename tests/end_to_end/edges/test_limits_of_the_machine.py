"""Where an agent gets no file or process it says so and leaves, and the work is done elsewhere."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, numbers, processes_of

import batchpilot as bp
from batchpilot import control, starting


JOBS = 40
PIDS = Path("/sys/fs/cgroup/pids")
FEW_FILES = 14
"""Enough for a pilot at the broker, too few for a template."""


@pytest.fixture
def few_processes(tmp_path: Path, until: Until) -> Iterator[Callable[[int, list[int]], None]]:
    """Give a function that puts processes where there are only so many."""
    place = PIDS / f"batchpilot-{tmp_path.name}"
    try:
        place.mkdir()
    except OSError:
        pytest.skip("only root can limit processes, by a control group")

    def limit(most: int, pids: list[int]) -> None:
        (place / "pids.max").write_text(str(most))
        for pid in pids:
            (place / "cgroup.procs").write_text(str(pid))

    yield limit
    until(lambda: not (place / "cgroup.procs").read_text())
    place.rmdir()


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let all that is started have its temporary files on a disk of 2 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - where it is differs


def with_agent(make_study: MakeStudy, until: Until) -> tuple[bp.Registry, str, list[int]]:
    """Return a registry, its one idle agent, and the agent's processes."""
    registry = make_study()
    registry.batch_map(lambda i: i * i, i=range(JOBS))
    (agent,) = starting.start_agents(registry.paths)
    until(lambda: bool(control.agents(registry.paths)))
    found = [p.pid for p in processes_of(registry.paths) if "batchpilot_agent" in p.cmdline()]
    assert len(found) == 3
    return registry, agent, found


def check(registry: bp.Registry, agent: str, words: str, until: Until) -> None:
    """Submit; see that all is done, uncharged and elsewhere, and that the agent has said why."""
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False), registry.get_error_messages()
    log = registry.paths.logs / f"{agent}.log"
    until(lambda: "gone: limit" in log.read_text(), 20.0)

    assert registry.reduce_results_list() == [i * i for i in range(JOBS)]
    assert max(numbers(registry, "charged")) == 0
    assert f"no file or process to be had ({words}" in " ".join(log.read_text().split())
    assert "Traceback" not in log.read_text()


def test_an_agent_out_of_descriptors_says_so_and_others_do_its_work(
    make_study: MakeStudy, until: Until
) -> None:
    registry, agent, pids = with_agent(make_study, until)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))

    check(registry, agent, "[Errno 24] Too many open files", until)


@pytest.mark.parametrize("most", [3, 4], ids=["no template", "no slot"])
def test_an_agent_out_of_processes_says_so_and_others_do_its_work(
    make_study: MakeStudy,
    until: Until,
    few_processes: Callable[[int, list[int]], None],
    most: int,
) -> None:
    registry, agent, pids = with_agent(make_study, until)
    few_processes(most, pids)

    check(registry, agent, "[Errno 11] Resource temporarily unavailable", until)


def test_a_job_that_fills_the_agents_tmp_fails_and_those_that_write_until_it_is_free(
    small_disk: Path, make_study: MakeStudy
) -> None:
    def use(what: str) -> str:
        filler = Path(tempfile.gettempdir(), "filler")
        if what == "fill":
            with filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        if what == "free":
            filler.unlink()
        if what == "print":
            print("printed")  # noqa: T201 - a job's output
        return what

    turns = ["print", "fill", "print", "quiet", "free", "print"]
    registry = make_study(pool=bp.pools.Local(slots=1))
    registry.batch_map(use, what=turns)
    registry.submit_jobs(None, {"isolation": "slot"})

    assert not registry.wait_for_jobs(timeout=60, progress=False)
    assert not list(small_disk.glob("filler"))
    assert registry.find_error() == [2, 3]
    assert set(registry.get_error_messages([2, 3])["message"]) == {
        "OSError: [Errno 28] No space left on device"
    }
    assert [registry.get_log(job) for job in (1, 4, 5, 6)] == [["printed"], [], [], ["printed"]]
