"""Code that is edited between two submissions: queued jobs run what they were submitted with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.end_to_end.conftest import MakeStudy, Run


SESSION = """
import importlib
import time
from pathlib import Path
import batchpilot as bp
import lab.deep.core
from lab import scale

def use(i):
    Path("began").touch()
    while not Path("gate").exists():
        time.sleep(0.005)
    import lab.deep.late
    return [lab.deep.core.VERSION, scale.scaled(i), lab.deep.late.TEXT]

reg = bp.make_registry("study", seed=1)
reg.pools = bp.pools.Local(slots=1)
reg.batch_map(use, i=range(1, 9))
reg.submit_jobs(range(1, 5))
while not Path("began").exists():
    time.sleep(0.005)
for path in Path("lab").rglob("*.py"):
    path.write_text(path.read_text().replace("old", "new").replace("10", "1000"))
importlib.reload(lab.deep.core)
importlib.reload(lab.scale)
reg.submit_jobs(range(5, 9))
Path("gate").touch()
print(reg.wait_for_jobs(timeout=60, progress=False))
print(reg.reduce_results_list())
reg.submit_jobs([1, 2])
print(reg.wait_for_jobs(timeout=60, progress=False))
print(reg.reduce_results_list([1, 2]))
print(len(set(reg.get_job_table()["job_hash"])))
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Lay a package with a package in it beside the script."""
    deep = tmp_path / "lab" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "lab" / "__init__.py").write_text("")
    (tmp_path / "lab" / "scale.py").write_text(
        "from .deep.core import FACTOR\n\ndef scaled(x):\n    return FACTOR * x\n"
    )
    (deep / "__init__.py").write_text("from . import late\n")
    (deep / "core.py").write_text("VERSION = 'old'\nFACTOR = 10\n")
    (deep / "late.py").write_text("TEXT = 'old'\n")
    return tmp_path


def test_queued_jobs_run_the_old_code_and_new_ones_the_new(
    lab: Path, make_study: MakeStudy, run_script: Run
) -> None:
    make_study.watch(lab / "study")
    (lab / "session.py").write_text(SESSION)

    ended = run_script("session.py")

    old = [["old", 10 * i, "old"] for i in range(1, 5)]
    new = [["new", 1000 * i, "new"] for i in range(1, 9)]
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "True",
        str(old + new[4:]),
        "True",
        str(new[:2]),
        "2",
    ]
