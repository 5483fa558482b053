"""Libraries that start threads when they are imported: `Local(start="spawn")`."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.conftest import Run

from batchpilot import control
from batchpilot_broker.paths import RegistryPaths


LIBRARY = """
import queue, threading
asked, answers = queue.Queue(), queue.Queue()
def work():
    while True:
        answers.put(2 * asked.get())
threading.Thread(target=work, daemon=True).start()
def double(i):
    asked.put(i)
    return answers.get(timeout=60)
"""

SCRIPT = """
import sys, threaded
import batchpilot as bp
reg = bp.make_registry(sys.argv[1], seed=1)
reg.pools = bp.pools.Local(slots=2, start=sys.argv[2])
reg.batch_map(threaded.double, i=range(6))
reg.submit_jobs()
reg.wait_for_jobs(progress=False)
print(reg.get_status().done, reg.reduce_results_list(reg.find_done()), reg.find_error())
print(reg.get_job_table()["job_hash"].nunique())
"""


def ran(tmp_path: Path, run_script: Run, start: str) -> str:
    (tmp_path / "threaded.py").write_text(LIBRARY)
    (tmp_path / "script.py").write_text(SCRIPT)
    try:
        said = run_script("script.py", str(tmp_path / start), start)
    finally:
        control.stop(RegistryPaths(tmp_path / start))
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_spawned_slots_keep_the_threads_of_their_imports(tmp_path: Path, run_script: Run) -> None:
    assert ran(tmp_path, run_script, "spawn").startswith("6 [0, 2, 4, 6, 8, 10]")


def test_an_import_that_fails_in_a_spawned_slot_is_the_jobs_error(
    tmp_path: Path, run_script: Run
) -> None:
    (tmp_path / "later.py").write_text("1 / 0\n")
    script = SCRIPT.replace("import sys, threaded", "import sys, types").replace(
        "threaded.double", "f"
    )
    head = (
        "import sys, types\n"
        "fake = types.ModuleType('later'); sys.modules['later'] = fake\n"
        "exec('def f(i): return i', fake.__dict__); f = fake.f; f.__module__ = 'later'\n"
    )
    (tmp_path / "failing.py").write_text(head + script + "print(reg.get_error_messages())\n")
    try:
        said = run_script("failing.py", str(tmp_path / "spawn"), "spawn")
    finally:
        control.stop(RegistryPaths(tmp_path / "spawn"))

    assert said.returncode == 0, said.stderr
    assert "ZeroDivisionError" in said.stdout
