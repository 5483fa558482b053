"""An agent runs what it is fed, in real processes on a real broker, and tells of it."""

from __future__ import annotations

import itertools
import os
import pickle
import time
from pathlib import Path

import msgpack
from tests.conftest import wait_until

from batchpilot_broker.frames import ENDED, STARTED, Kind
from batchpilot_broker.nouns import Isolation, Outcome, Reason, ResourceClass

from .conftest import Bench


def double(x: int) -> int:
    return 2 * x


def crash(x: int) -> int:
    if x == 1:
        os.write(1, b"last words")
        os.kill(os.getpid(), 11)
    if x == 2:
        os._exit(3)
    return x


def test_a_chunk_is_run_reported_and_finished(bench: Bench) -> None:
    chunk = bench.feed(bench.epoch(double), [(1,), (2,), (3,)])
    bench.agent()
    rows = bench.await_rows(100, 101, 102)
    wait_until(lambda: bench.notes(Kind.CHUNK_ENDED))

    assert [pickle.loads(bench.body(rows[job])) for job in (100, 101, 102)] == [2, 4, 6]  # noqa: S301 - our own bytes
    assert {row.outcome for row in rows.values()} == {Outcome.DONE}
    assert [STARTED.unpack(p)[0] for p in bench.notes(Kind.CHUNK_STARTED)] == [chunk.id]
    assert [ENDED.unpack(p)[::2] for p in bench.notes(Kind.CHUNK_ENDED)] == [(chunk.id, 3)]
    wait_until(lambda: not bench.broker.leases())


def test_reports_join_without_gaps_from_the_start_of_the_segment(bench: Bench) -> None:
    epoch = bench.epoch(double)
    for _ in range(5):
        bench.feed(epoch, [(1,)] * 50)
    bench.agent(slots=2)
    bench.await_rows(*(100 * chunk + job for chunk in range(1, 6) for job in range(50)))
    wait_until(lambda: len(bench.notes(Kind.CHUNK_ENDED)) == 5)
    spans = [(report.start, report.end) for report in bench.reports]

    assert spans[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert spans[-1][1] == bench.paths.results("a1").stat().st_size


def test_a_crash_costs_only_its_job(bench: Bench) -> None:
    bench.feed(bench.epoch(crash), [(0,), (1,), (2,), (3,)])
    bench.agent()
    rows = bench.await_rows(100, 101, 102, 103)

    assert [rows[job].outcome for job in (100, 103)] == [Outcome.DONE] * 2
    assert (rows[101].outcome, rows[101].reason) == (Outcome.LOST, Reason.SIGNAL)
    assert msgpack.unpackb(bench.body(rows[101])) == "signal 11 (SIGSEGV)"
    assert (rows[102].outcome, rows[102].reason) == (Outcome.LOST, Reason.EXIT)
    assert msgpack.unpackb(bench.body(rows[102])) == "exit code 3"
    assert rows[101].log_size >= len(b"last words")
    assert b"last words" in bench.log()


def test_jobs_isolated_by_process_never_share_one(bench: Bench) -> None:
    epoch = bench.epoch(lambda x: (x, os.getpid()))
    bench.feed(epoch, [(1,), (2,), (3,)], isolation=Isolation.PROCESS)
    bench.agent()
    rows = bench.await_rows(100, 101, 102)
    results = [pickle.loads(bench.body(rows[job])) for job in (100, 101, 102)]  # noqa: S301 - our own bytes

    assert [x for x, _ in results] == [1, 2, 3]
    assert len({pid for _, pid in results}) == 3


def test_an_import_that_fails_is_the_error_of_every_job(bench: Bench) -> None:
    bench.feed(bench.epoch_of(b"cthere_is_no_such_module\nf\n.", "x"), [(1,), (2,)])
    bench.feed(bench.epoch(double), [(1,)])
    bench.agent()
    rows = bench.await_rows(100, 101, 200)

    assert [(rows[j].outcome, rows[j].reason) for j in (100, 101)] == [
        (Outcome.ERROR, Reason.TEMPLATE)
    ] * 2
    assert msgpack.unpackb(bench.body(rows[100]))[0] == "ModuleNotFoundError"
    assert rows[200].outcome is Outcome.DONE


def test_two_slots_run_two_jobs_at_once(bench: Bench, tmp_path: Path) -> None:
    def meet(name: str, other: str) -> str:
        (tmp_path / name).touch()
        while not (tmp_path / other).exists():
            time.sleep(0.005)
        return name

    epoch = bench.epoch(meet)
    bench.feed(epoch, [("a", "b")])
    bench.feed(epoch, [("b", "a")])
    bench.agent(slots=2)

    assert {row.outcome for row in bench.await_rows(100, 200).values()} == {Outcome.DONE}


def test_a_job_of_two_cores_waits_for_two_cores(bench: Bench, tmp_path: Path) -> None:
    def alone(name: str) -> int:
        with (tmp_path / "running").open("a") as file:
            file.write(f"{name} begins\n")
        time.sleep(0.1)
        with (tmp_path / "running").open("a") as file:
            file.write(f"{name} ends\n")
        return os.getpid()

    epoch = bench.epoch(alone)
    for name in "ab":
        bench.feed(epoch, [(name,)], resources=ResourceClass(ncpus=2))
    bench.agent(slots=2, cores=2)
    bench.await_rows(100, 200)
    told = (tmp_path / "running").read_text().split("\n")

    assert [line.split(" ")[1] for line in told if line] == ["begins", "ends"] * 2


def test_what_does_not_fit_is_not_claimed(bench: Bench) -> None:
    epoch = bench.epoch(double)
    for resources in (
        ResourceClass(ncpus=3),
        ResourceClass(memory=2000.0),
        ResourceClass(gpus=1),
        ResourceClass(pool="elsewhere"),
    ):
        bench.feed(epoch, [(1,)], resources=resources)
    bench.feed(epoch, [(1,)], resources=ResourceClass(memory=500.0))
    bench.agent(slots=2, memory=1000.0)

    assert set(bench.await_rows(500)) == {500}
    assert set(bench.broker.leases()) <= {5}


def test_threads_hash_seed_and_marker_are_in_the_environment(bench: Bench) -> None:
    names = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BATCHPILOT_AGENT")
    epoch = bench.epoch(lambda x: [x, *(os.environ[name] for name in names)])
    bench.feed(epoch, [(1,)], resources=ResourceClass(threads=(2, 3)))
    bench.agent()
    rows = bench.await_rows(100)

    assert pickle.loads(bench.body(rows[100])) == [1, "0", "2", "3", "a1"]  # noqa: S301 - our own bytes


def test_a_running_job_is_told_of_and_its_row_replaces_that(bench: Bench, tmp_path: Path) -> None:
    def wait(x: int) -> int:
        while not (tmp_path / "go").exists():
            time.sleep(0.005)
        return x

    bench.feed(bench.epoch(wait), [(1,)])
    bench.agent()
    wait_until(lambda: bench.running() == {100})
    (tmp_path / "go").touch()

    assert bench.await_rows(100)[100].outcome is Outcome.DONE
