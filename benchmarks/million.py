"""A million jobs through every room: define, submit, run, count, find, collect, files, memory.

    python benchmarks/million.py [--jobs 1000000]

Goals at 10^6: define + submit <= 15 s and 600 MB; get_status 0.1 s, find by state 0.5 s, find by
expression 3 s; collect 10 s; at most 30 files; memory of the coordinator, the agent and its slots
flat: at most 10 % + 5 MB above what 200,000 jobs need.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from machine import machine

import batchpilot as bp
from batchpilot import control


SMALLER = 5


def nothing(i: int) -> int:
    """Return the parameter."""
    return i


def timed(what: str, call: Callable[[], object], goal: str) -> None:
    """Print the median seconds of three calls."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    print(f"{what}: {sorted(seconds)[1]:.3f} s; goal {goal}")


def memory(reg: bp.Registry) -> dict[str, float]:
    """Return the MB that coordinator, pilot and slots use."""
    agent = psutil.Process(control.agents(reg.paths)[0]["pid"])
    found = {
        "coordinator": psutil.Process(control.coordinator_status(reg.paths)["pid"]),
        "agent": agent,
    }
    found.update((f"slot {p.pid}", p) for p in agent.children(recursive=True))
    sizes = {name: process.memory_info().rss / 2**20 for name, process in found.items()}
    slots = [size for name, size in sizes.items() if name.startswith("slot")]
    return {"coordinator": sizes["coordinator"], "agent": sizes["agent"], "slot": max(slots)}


def run(reg: bp.Registry, jobs: int) -> dict[str, float]:
    """Run that many jobs and return the memory used at their end."""
    started = time.perf_counter()
    reg.batch_map(nothing, i=range(jobs))
    defined = time.perf_counter()
    reg.submit_jobs()
    submitted = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if not reg.wait_for_jobs(progress=False):
        raise SystemExit(f"not all done: {reg.get_status()}")
    rate = jobs / (time.perf_counter() - defined)
    print(
        f"{jobs:,} jobs: define {defined - started:.2f} s, submit {submitted - defined:.2f} s,"
        f" session {peak:.0f} MB; then {rate:,.0f} jobs/s; goal 15 s together, 600 MB"
    )
    return memory(reg)


def look(reg: bp.Registry) -> None:
    """Print how long questions take."""
    timed("get_status", reg.get_status, "0.1 s")
    timed("find by state", reg.find_done, "0.5 s")
    timed("find by expression", lambda: reg.find_jobs("i % 1000 == 7 & i > 500"), "3 s")
    timed("collect", reg.reduce_results_list, "10 s")
    timed("results_frame", reg.results_frame, "none")
    files = sum(path.is_file() for path in reg.file_dir.rglob("*"))
    print(f"files: {files}; goal 30")


def study(jobs: int, *, ask: bool) -> dict[str, float]:
    """Make a registry, run its jobs, and return the memory used."""
    with tempfile.TemporaryDirectory() as place:
        reg = bp.make_registry(Path(place) / "registry", seed=1)
        reg.pools = bp.pools.Local(slots=2)
        try:
            used = run(reg, jobs)
            if ask:
                look(reg)
        finally:
            control.stop(reg.paths)
    return used


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1_000_000)
    jobs = parser.parse_args().jobs
    print(machine())
    small = study(jobs // SMALLER, ask=False)
    large = study(jobs, ask=True)
    for name, size in large.items():
        fifth = small[name]
        goal = 1.1 * fifth + 5
        print(f"memory of {name}: {size:.1f} MB, with a fifth of it {fifth:.1f}; goal {goal:.1f}")


if __name__ == "__main__":
    main()
