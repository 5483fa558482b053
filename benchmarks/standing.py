"""What costs while nothing happens, and what must be quick to start.

    python benchmarks/standing.py

Goals: an idle coordinator below 1 % of a core; `batchpilot --help` within 150 ms; an agent's start
to its first claim within 600 ms.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from machine import claimed_at, machine, show

import batchpilot as bp
from batchpilot import control


SECONDS = 20.0


def idle(reg: bp.Registry) -> float:
    """Return the percentage of a core that the coordinator uses while there is nothing to do."""
    process = psutil.Process(control.coordinator_status(reg.paths)["pid"])
    before = sum(process.cpu_times()[:2])
    time.sleep(SECONDS)
    return 100 * (sum(process.cpu_times()[:2]) - before) / SECONDS


def help_milliseconds() -> float:
    """Return the time of `batchpilot --help`."""
    program = Path(sys.executable).with_name("batchpilot")
    started = time.perf_counter()
    subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - started)


def first_claim(reg: bp.Registry) -> float:
    """Return the milliseconds from an agent's start to its first claim."""
    agent = psutil.Process(control.agents(reg.paths)[0]["pid"])
    log = reg.paths.agent_log(control.agents(reg.paths)[0]["id"])
    moment = claimed_at(log)
    if not moment:
        raise SystemExit(f"no template in the agent's log:\n{log.read_text()}")
    return 1000 * (moment - agent.parent().create_time())


def main() -> None:
    """Run and print."""
    print(machine())
    help_milliseconds()
    show("batchpilot --help", [help_milliseconds() for _ in range(5)], "ms", "150")
    claims = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as place:
            reg = bp.make_registry(Path(place) / "registry", seed=1)
            reg.pools = bp.pools.Local(slots=2)
            try:
                reg.batch_map(abs, x=range(10))
                reg.submit_jobs()
                reg.wait_for_jobs(progress=False)
                claims.append(first_claim(reg))
                if len(claims) == 1:
                    show("idle coordinator", [idle(reg)], "% of a core", "1")
            finally:
                control.stop(reg.paths)
    show("agent start to first claim", claims, "ms", "600")


if __name__ == "__main__":
    main()
