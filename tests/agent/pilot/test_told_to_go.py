"""Jobs that are told to go: who is told when, and what becomes of the programs that they run."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.conftest import wait_until

import batchpilot as bp
from batchpilot_broker.nouns import Reason, ResourceClass

from .conftest import Bench
from .marks import Marks


PAGE = Path(__file__).parents[3] / "docs" / "pools.md"
CATCHING = (
    "trap 'sleep 0.2; : >{0}/checkpoint; exit 3' TERM; echo $$ >{0}/~; mv {0}/~ {0}/begun;"
    " while :; do sleep 0.1; done"
)
"""A program that writes a checkpoint when it is told to go, for longer than a moment."""


def is_in_mid_run(marks: Marks) -> bool:
    """Tell whether a program has begun, and its job waits for its end before it goes."""
    if not marks.has("begun"):
        return False
    slot = os.getsid(int(marks.get("begun")))
    (blocked,) = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{slot}/status").read_text())
    return bool(int(blocked, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_job_that_catches_sigterm_has_the_whole_grace(bench: Bench, marks: Marks) -> None:
    def work(name: str) -> None:
        from batchpilot_agent.job import HandBack  # noqa: PLC0415 - the job's own import

        def checkpoint(*_: object) -> None:
            marks.set("told")
            marks.wait("checkpoint written")
            raise HandBack

        if name == "listens":
            signal.signal(signal.SIGTERM, checkpoint)
        marks.set(name)
        marks.wait(f"end {name}")

    bench.feed(bench.epoch(work), [("listens",)])
    bench.feed(bench.epoch(work), [("does not",)])
    agent = bench.agent(slots=2, grace=600)
    wait_until(lambda: marks.has("listens") and marks.has("does not"))
    agent.terminate()
    wait_until(lambda: marks.has("told"))
    marks.set("end does not")
    assert bench.await_rows(200).keys() == {200}
    marks.set("checkpoint written")

    assert agent.wait(60) == 0
    assert bench.handed_back() == [(1, [[100, 100]], "handed back", False)]


def test_a_grace_that_becomes_shorter_counts_for_jobs_that_were_told(
    bench: Bench, marks: Marks
) -> None:
    def work() -> None:
        signal.signal(signal.SIGTERM, lambda *_: marks.set("told"))
        marks.set("a")
        marks.wait("never")

    bench.feed(bench.epoch(work), [()])
    agent = bench.agent(grace=600)
    wait_until(lambda: marks.has("a"))
    agent.terminate()
    wait_until(lambda: marks.has("told"))
    bench.broker.control("a1", "stop")

    assert agent.wait(60) == 0
    assert bench.handed_back() == [(1, [[100, 100]], "drain", False)]


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a shell"])
def test_a_program_that_catches_sigterm_writes_its_checkpoint_before_its_job_is_handed_back(
    bench: Bench, marks: Marks, wrapped: bool
) -> None:
    def work(program: str, job: Any) -> None:
        job.run(f"sh -c '{program}'; true" if wrapped else ["sh", "-c", program])
        marks.set("went on")

    program = CATCHING.format(marks.directory)
    program = program.replace("'", '"') if wrapped else program
    bench.feed(bench.epoch(work), [(program,)])
    agent = bench.agent(grace=600)
    wait_until(lambda: is_in_mid_run(marks))
    agent.terminate()

    assert agent.wait(60) == 0
    assert marks.has("checkpoint")
    assert not marks.has("went on")
    assert bench.rows() == {}
    assert bench.handed_back() == [(1, [[100, 100]], "drain", False)]


def test_a_jobs_own_handler_is_called_when_its_program_has_written_its_checkpoint(
    bench: Bench, marks: Marks
) -> None:
    def work(program: str, job: Any) -> None:
        from batchpilot_agent.job import HandBack  # noqa: PLC0415 - the job's own import

        def take_away(*_: object) -> None:
            marks.set("taken", marks.get("checkpoint"))
            raise HandBack

        signal.signal(signal.SIGTERM, take_away)
        job.run(["sh", "-c", program])

    bench.feed(bench.epoch(work), [(CATCHING.format(marks.directory),)])
    agent = bench.agent(grace=600)
    wait_until(lambda: is_in_mid_run(marks))
    agent.terminate()

    assert agent.wait(60) == 0
    assert marks.has("taken")
    assert bench.handed_back() == [(1, [[100, 100]], "handed back", False)]


def test_a_job_whose_program_was_told_first_is_no_error(bench: Bench) -> None:
    def work(job: Any) -> None:
        from batchpilot_agent import job as programs  # noqa: PLC0415 - the job's own import

        programs._TOLD_AS_WELL = 60.0  # a busy machine is late with what follows
        job.run(f"(sleep 0.3; kill -TERM {os.getpid()}) & exit 143")

    bench.feed(bench.epoch(work), [()])
    bench.agent()

    assert bench.await_rows(100)[100].reason == Reason.SIGNAL


def test_a_program_that_does_not_care_is_killed_after_the_grace(bench: Bench, marks: Marks) -> None:
    def work(job: Any) -> None:
        job.run(["sh", "-c", f"trap '' TERM; touch {marks.directory}/begun; exec sleep 600"])

    bench.feed(bench.epoch(work), [()])
    agent = bench.agent(grace=0.1)
    wait_until(lambda: marks.has("begun"))
    agent.terminate()

    assert agent.wait(60) == 0
    assert bench.handed_back() == [(1, [[100, 100]], "drain", False)]


def test_a_program_over_its_jobs_walltime_expires_its_job(bench: Bench, marks: Marks) -> None:
    def work(program: str, job: Any) -> None:
        job.run(["sh", "-c", program])

    resources = ResourceClass(walltime=5.0)
    bench.feed(bench.epoch(work), [(CATCHING.format(marks.directory),)], resources=resources)
    bench.agent()

    assert bench.await_rows(100)[100].reason == Reason.WALLTIME
    assert marks.has("checkpoint")


def of_the_page(name: str, **known: Any) -> bytes:
    """Return a function that docs/pools.md shows behind its study, pickled with what it knows."""
    _, _, shown = PAGE.read_text(encoding="utf-8").partition("### When a job is told to go")
    (code,) = re.findall(rf"```python\n(def {name}\(.*?)```", shown, re.DOTALL)
    names = {"__name__": "__main__", "bp": bp, "signal": signal, **known}
    exec(code, names)  # noqa: S102 - the page's code is what is tested
    pickled: bytes = cloudpickle.dumps(names[name])
    return pickled


def run_twice(bench: Bench, marks: Marks, epoch: str, *pars: Any, begun: Callable[[], bool]) -> Any:
    """Run a job at an agent that has to go, then at another one; return its result."""
    bench.feed(epoch, [pars], ranges=[(1, 1)])
    first = bench.agent("a1", grace=600)
    wait_until(begun)
    first.terminate()
    assert first.wait(60) == 0
    assert bench.handed_back() == [(1, [[1, 1]], "handed back", False)]
    marks.set("again")
    bench.feed(epoch, [pars], ranges=[(1, 1)])
    bench.agent("a2")
    return pickle.loads(bench.body(bench.await_rows(1)[1], "a2"))  # noqa: S301 - our agent wrote it


def test_the_pages_job_that_computes_itself_goes_on_where_it_was(
    bench: Bench, marks: Marks
) -> None:
    def improved(x: float) -> float:
        marks.set("begun")
        marks.set(x)
        if not marks.has("again"):
            time.sleep(0.3)
        return x + 1

    climb = of_the_page("climb", json=json, improved=improved)
    epoch = bench.epoch_of(climb, "steps", "job")
    result = run_twice(bench, marks, epoch, 100, begun=lambda: marks.has("begun"))

    assert result == 100.5
    assert all(marks.has(x + 0.5) for x in range(100))


PROGRAM = """#!/bin/sh
[ -e "$3" ] && exec sed -i "s/^/$1 $2 /" "$3"
trap 'sleep 0.2; echo went on >"$3"; exit 0' TERM
echo $$ >{0}/~
mv {0}/~ {0}/begun
while :; do sleep 0.1; done
"""


def test_the_pages_job_brings_its_checkpoint_from_the_nodes_disk(
    bench: Bench, marks: Marks, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(PROGRAM.format(marks.directory))
    program.chmod(0o755)
    modules = {"os": os, "shutil": shutil, "tempfile": tempfile, "Path": Path}

    simulate = of_the_page("simulate", PROGRAM=str(program), STEPS=7, **modules)
    epoch = bench.epoch_of(simulate, "rate", "job")
    result = run_twice(bench, marks, epoch, 1.5, begun=lambda: is_in_mid_run(marks))

    assert result == "1.5 7 went on\n"
