"""Jobs that are told to go: who is told when, and what becomes of the programs that they run."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from tests.conftest import wait_until

from batchpilot_broker.nouns import Reason, ResourceClass

from .conftest import Bench
from .marks import Marks


CATCHING = "trap 'sleep 0.2; touch {0}/checkpoint; exit 3' TERM; touch {0}/begun; sleep 600 & wait"
"""A program that writes a checkpoint when it is told to go, for longer than a moment."""


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

    assert agent.wait(20) == 0
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

    assert agent.wait(20) == 0
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
    wait_until(lambda: marks.has("begun"))
    agent.terminate()

    assert agent.wait(20) == 0
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
    wait_until(lambda: marks.has("begun"))
    agent.terminate()

    assert agent.wait(20) == 0
    assert marks.has("taken")
    assert bench.handed_back() == [(1, [[100, 100]], "handed back", False)]


def test_a_program_that_does_not_care_is_killed_after_the_grace(bench: Bench, marks: Marks) -> None:
    def work(job: Any) -> None:
        job.run(["sh", "-c", f"trap '' TERM; touch {marks.directory}/begun; exec sleep 600"])

    bench.feed(bench.epoch(work), [()])
    agent = bench.agent(grace=0.1)
    wait_until(lambda: marks.has("begun"))
    agent.terminate()

    assert agent.wait(20) == 0
    assert bench.handed_back() == [(1, [[100, 100]], "drain", False)]


def test_a_program_over_its_jobs_walltime_expires_its_job(bench: Bench, marks: Marks) -> None:
    def work(program: str, job: Any) -> None:
        job.run(["sh", "-c", program])

    resources = ResourceClass(walltime=1.0)
    bench.feed(bench.epoch(work), [(CATCHING.format(marks.directory),)], resources=resources)
    bench.agent()

    assert bench.await_rows(100)[100].reason == Reason.WALLTIME
    assert marks.has("checkpoint")
