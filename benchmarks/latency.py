"""One job on a warm pool, from submit_jobs to the result seen; and a cold start from nothing.

    python benchmarks/latency.py [--runs 50] [--cold 5]

Goals: 25 ms median, 2 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine, show

import batchpilot as bp
from batchpilot import control


COLD = """
import sys, time
started = time.perf_counter()
import batchpilot as bp
reg = bp.make_registry(sys.argv[1], seed=1)
reg.pools = bp.pools.Local(slots=2)
reg.batch_map(lambda i: i + 1, i=[41])
reg.submit_jobs()
reg.wait_for_jobs(progress=False)
assert reg.load_result(1) == 42
print(time.perf_counter() - started)
"""


def nothing(i: int) -> int:
    """Return the parameter."""
    return i


def warm(runs: int) -> list[float]:
    """Return milliseconds from submission to the loaded result, one job at a time."""
    times = []
    with tempfile.TemporaryDirectory() as place:
        reg = bp.make_registry(Path(place) / "registry", seed=1)
        reg.pools = bp.pools.Local(slots=2)
        try:
            ids = reg.batch_map(nothing, i=range(runs + 5))
            for job in ids:
                started = time.perf_counter()
                reg.submit_jobs(job)
                reg.wait_for_jobs(job, progress=False)
                result = reg.load_result(job)
                times.append(1000 * (time.perf_counter() - started))
                if result != job - 1:
                    raise SystemExit(f"job {job} returned {result}")
        finally:
            control.stop(reg.paths)
    return times[5:]


def cold() -> float:
    """Return seconds from nothing running, `import batchpilot` included, to the first result."""
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "registry"
        said = subprocess.run(
            [sys.executable, "-c", COLD, str(target)], check=True, capture_output=True, text=True
        )
        control.stop(bp.load_registry(target).paths)
    return float(said.stdout)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--cold", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    show("one job, warm", warm(options.runs), "ms", "25")
    show("cold start", [cold() for _ in range(options.cold)], "s", "2")


if __name__ == "__main__":
    main()
