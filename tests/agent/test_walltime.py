"""The walltime of an agent counts from the start of the script that became the agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchpilot_agent.launch import clean_environment


CODE = """
import sys
from pathlib import Path
from batchpilot_agent.__main__ import _parser, _settings
from batchpilot_broker.paths import RegistryPaths

args = _parser().parse_args(["--registry", ".", "--agent", "a", "--pool", "p", *sys.argv[1:]])
made = _settings(args, RegistryPaths(Path.cwd()), "i1", remote=False)
print(made.deadline - made.started, made.deadline - made.began)
"""


def lasts(tmp_path: Path, *options: str) -> tuple[float, float]:
    """Return how long an agent has from its own start, and from that of its walltime."""
    (tmp_path / "code.py").write_text(CODE)
    words = [sys.executable, "code.py", "--walltime", "100", *options]
    environment = clean_environment(os.environ)
    environment.pop("SLURM_JOB_END_TIME", None)
    said = subprocess.run(
        ["bash", "-c", 'sleep 0.5; exec "$@"', "bash", *words],  # noqa: S607 - as in job scripts
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    left, whole = map(float, said.stdout.split())
    return left, whole


@pytest.mark.parametrize("element", [True, False])
def test_what_a_job_script_took_before_its_agent_is_gone_from_the_walltime(
    tmp_path: Path, element: bool
) -> None:
    left, whole = lasts(tmp_path, *(["--element", "1"] if element else []))

    assert whole == pytest.approx(100.0)
    assert (left < 99.52) == element
