"""What an agent does to the registry's file system before it has work, and what it has loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.end_to_end.conftest import MakeStudy


MOST_OPENED = 200
"""Files that an agent may open in the registry before its first claim."""

WATCH = """
import json, os, sys

root, told, opened = {root!r}, {told!r}, []

def watch(event, args):
    if event in ("open", "os.listdir", "os.scandir") and not isinstance(args[0], (int, type(None))):
        path = os.fsdecode(args[0])
        if path.startswith(root):
            opened.append(path)
    elif event == "subprocess.Popen" and "batchpilot_agent.slot.template" in args[1]:
        seen = {{"opened": list(opened), "modules": sorted(sys.modules)}}
        with open(told + ".aside", "w") as file:
            json.dump(seen, file)
        os.rename(told + ".aside", told)

if "batchpilot_agent" in sys.orig_argv:
    sys.addaudithook(watch)
"""
"""Notes what the interpreter opens; a template is started by the first chunk that was claimed."""


def test_an_agent_opens_few_files_of_the_registry_and_loads_nothing_heavy_before_its_first_claim(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    told = tmp_path / "told"
    registry = make_study()
    text = WATCH.format(root=f"{registry.paths.root}{os.sep}", told=str(told))
    (site / "sitecustomize.py").write_text(text)
    before = [path for path in [os.environ.get("PYTHONPATH", "")] if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *before]))
    registry.batch_map(lambda i: i, i=range(2))
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, progress=False)

    seen = json.loads(told.read_text())

    print(len(seen["opened"]), "opened:", *seen["opened"], sep="\n")  # noqa: T201 - beside a failure
    assert 1 <= len(seen["opened"]) <= MOST_OPENED
    heavy = {"batchpilot", "cloudpickle", "numpy", "pandas", "rq", "sqlite3", "_sqlite3"}
    assert {name.partition(".")[0] for name in seen["modules"]} & heavy == set()
