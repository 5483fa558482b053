"""The whole session killed: agents go on without it, and the next wait finishes the work."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy, Run, numbers, script_environment

import batchpilot as bp
from batchpilot import control
from batchpilot.store.pages import State
from batchpilot_broker.host import process_start

from .conftest import Tell
from .tools import access_of, assert_each_done_once, coordinator_pid, kill, supervisor_pid, written


JOBS = 3000
ALONE = 200
ENOUGH = 1000
"""So many jobs lie at the broker when the session is killed, more than are then waited for."""
SESSION = f"""
import time
import batchpilot as bp

def brief(i):
    time.sleep(0.004)
    return i

reg = bp.make_registry("study", seed=1)
reg.pools = bp.pools.Local(slots=2)
reg.batch_map(brief, i=range(1, {JOBS} + 1))
reg.submit_jobs()
reg.wait_for_jobs(progress=False)
"""
NEXT = """
import batchpilot as bp
reg = bp.load_registry("study")
print(reg.wait_for_jobs(timeout=60, progress=False), sum(reg.reduce_results_list()))
"""


def test_agents_go_on_without_a_session_and_the_next_wait_finishes(
    tmp_path: Path, make_study: MakeStudy, run_script: Run, until: Until, tell: Tell
) -> None:
    make_study.watch(tmp_path / "study")
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION], cwd=tmp_path, env=script_environment()
    )
    until((tmp_path / "study" / "logs" / "supervisor.json").exists)
    with bp.load_registry(tmp_path / "study") as registry:
        until(lambda: numbers(registry, "state").count(State.FED) > ENOUGH)
        tree = {session.pid, *(p.pid for p in psutil.Process(session.pid).children(recursive=True))}
        tree -= family(registry)
        assert {supervisor_pid(registry), coordinator_pid(registry)} <= tree
        kill(*tree)
        session.wait()
        known = len(written(registry))
        until(lambda: len(written(registry)) > known + ALONE)
        alone = len(written(registry)) - known
        assert coordinator_pid(registry) == 0
        assert registry.get_status().done <= known
        broker = access_of(registry).pid
        if process_start(broker):
            kill(broker)

        moment = time.monotonic()
        ended = run_script("-c", NEXT)

        assert ended.stdout.strip() == f"True {JOBS * (JOBS + 1) // 2}", ended.stderr
        tell(
            f"{alone} jobs finished while nobody looked; "
            f"the next session finished after {time.monotonic() - moment:.1f} s"
        )
        assert_each_done_once(registry, JOBS)
        assert max(numbers(registry, "charged")) == 0


def family(registry: bp.Registry) -> set[int]:
    """Return the agents' processes, from their keepers down."""
    keepers = [psutil.Process(agent["pid"]).parent() for agent in control.agents(registry.paths)]
    return {
        process.pid
        for keeper in keepers
        if keeper is not None
        for process in (keeper, *keeper.children(recursive=True))
    }
