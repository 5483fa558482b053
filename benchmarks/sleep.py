"""Jobs of 10 ms against two bare processes that loop over the same function in the same run.

    python benchmarks/sleep.py [--jobs 4000] [--runs 5]

Goals: 97 % of the bare processes' rate for jobs that sleep, 95 % for jobs that compute.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

from machine import machine, show

import batchpilot as bp
from batchpilot import control


SECONDS = 0.01


def sleeping(i: int) -> int:
    """Sleep for 10 ms."""
    time.sleep(SECONDS)
    return i


def computing(i: int) -> int:
    """Use 10 ms of processor time."""
    end = time.thread_time() + SECONDS
    while time.thread_time() < end:
        pass
    return i


def _loop(fun: Callable[[int], int], jobs: int, start: Barrier) -> None:
    start.wait()
    for i in range(jobs):
        fun(i)


def bare(fun: Callable[[int], int], jobs: int) -> float:
    """Return the seconds that two bare processes need for all the jobs."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_loop, args=(fun, jobs // 2, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def ours(reg: bp.Registry, ids: bp.JobIds) -> float:
    """Return the seconds from submission to the last job done."""
    started = time.perf_counter()
    reg.submit_jobs(ids)
    if not reg.wait_for_jobs(progress=False):
        raise SystemExit(f"not all done: {reg.get_status()}")
    return time.perf_counter() - started


def compare(fun: Callable[[int], int], jobs: int, runs: int) -> list[float]:
    """Return the ratio bare / ours of several runs, the two in turn."""
    with tempfile.TemporaryDirectory() as place:
        reg = bp.make_registry(Path(place) / "registry", seed=1)
        reg.pools = bp.pools.Local(slots=2)
        try:
            ids = reg.batch_map(fun, i=range(jobs))
            ours(reg, ids[:200])
            reg.reset_jobs(ids[:200])
            ratios = [bare(fun, jobs) / ours(reg, ids) for _ in range(runs)]
        finally:
            control.stop(reg.paths)
    return ratios


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    show("10 ms sleeping", compare(sleeping, options.jobs, options.runs), "of bare", "0.97")
    show("10 ms computing", compare(computing, options.jobs, options.runs), "of bare", "0.95")


if __name__ == "__main__":
    main()
