"""Jobs that do nothing: from submit_jobs to the last job done in the registry, agents warm.

    python benchmarks/noop.py [--jobs 200000] [--runs 5] [--numpy]

Signed payloads, results, logs and seeds as always. Goal: 60,000 jobs/s; 45,000 with numpy loaded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from machine import machine, show

import batchpilot as bp
from batchpilot import control


def nothing(i: int) -> int:
    """Return the parameter."""
    return i


def nothing_with_numpy(i: int) -> int:
    """Return the parameter in a process that has numpy.random loaded."""
    import numpy.random  # noqa: F401, PLC0415 - what is measured is its seeding

    return i


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--numpy", action="store_true")
    options = parser.parse_args()
    fun = nothing_with_numpy if options.numpy else nothing
    rates = []
    with tempfile.TemporaryDirectory() as place:
        reg = bp.make_registry(Path(place) / "registry", seed=1)
        reg.pools = bp.pools.Local(slots=2)
        try:
            ids = reg.batch_map(fun, i=range(options.jobs))
            for run in range(options.runs + 1):
                started = time.perf_counter()
                reg.submit_jobs(ids)
                done = reg.wait_for_jobs(progress=False)
                seconds = time.perf_counter() - started
                if not done:
                    raise SystemExit(f"not all done: {reg.get_status()}")
                if run:
                    rates.append(options.jobs / seconds)
        finally:
            control.stop(reg.paths)
    print(machine())
    name = "no-op jobs with numpy" if options.numpy else "no-op jobs"
    show(name, rates, "jobs/s", "45,000" if options.numpy else "60,000")


if __name__ == "__main__":
    main()
