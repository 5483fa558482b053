"""How a probe goes: its answer, its silence, its end; on a batch system in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.core.book import open_book

from batchpilot.checkup.probing import Probe
from batchpilot.pools import PBS
from batchpilot_agent import probe
from batchpilot_agent.errors import LaunchError, LaunchPostponed
from batchpilot_agent.launchers.nouns import (
    AllocationRequest,
    ElementState,
    ElementStatus,
    Parameters,
    Submitted,
)
from batchpilot_broker.files import write_json
from batchpilot_broker.paths import RegistryPaths


QUEUED = ElementStatus(state=ElementState.QUEUED, reason="Q Not Running: Job limit")
ENDED = ElementStatus(state=ElementState.ENDED, reason="X", failed=True)


@dataclass
class OneNode:
    """A batch system of one node.

    Attributes:
        starts: What it does with what is submitted.
        status: What it says of it.
        trouble: Raised when something is to be cancelled.
        requests: What was submitted.
    """

    starts: Callable[[AllocationRequest], object]
    status: ElementStatus = QUEUED
    trouble: LaunchError | None = None
    requests: list[AllocationRequest] = field(default_factory=list)
    parameters: Parameters = field(default_factory=lambda: Parameters(max_array=1))

    def submit(self, request: AllocationRequest) -> Submitted:
        """Take a request."""
        self.requests.append(request)
        self.starts(request)
        return Submitted(ids=("7.vm",), elements=("7.vm",))

    def states(self, ids: Sequence[str]) -> dict[str, ElementStatus]:
        """Tell what is known."""
        return dict.fromkeys(ids, self.status)

    def cancel(self, ids: Sequence[str], elements: Sequence[str] | None = None) -> None:
        """End elements."""
        if self.trouble is not None:
            raise self.trouble
        self.status = ENDED
        assert (list(ids), elements) == ([], ["7.vm"])


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[RegistryPaths]:
    with open_book(tmp_path / "study") as book:
        yield book.database.paths


def sent(paths: RegistryPaths, node: OneNode) -> Probe:
    pool = PBS(slots=3, resources={"walltime": 7200, "queue": "short"}, setup=["module load gcc"])
    made = Probe(paths, pool, node)
    made.submit()
    return made


def test_it_is_an_agents_request_but_for_what_is_started_and_how_long(paths: RegistryPaths) -> None:
    node = OneNode(lambda _request: None)
    made = sent(paths, node)

    (request,) = node.requests
    assert (request.agents, request.ncpus, request.walltime) == (1, 3, 60.0)
    assert (request.variables, request.setup) == ({"queue": "short"}, ("module load gcc",))
    assert request.command[1:4] == ("-P", "-m", "batchpilot_agent.probe")
    assert request.command[-1] == made.allocation


def test_what_it_finds_comes_back(paths: RegistryPaths) -> None:
    course = sent(paths, OneNode(lambda request: probe.probe(paths, request.id))).course(30.0)

    assert course.answered is not None
    assert course.report["packages"]["batchpilot"]


def test_one_that_does_not_begin_is_waited_for_as_long_as_patience_lasts(
    paths: RegistryPaths,
) -> None:
    course = sent(paths, OneNode(lambda _request: None)).course(0.2)

    assert not course.begun
    assert course.words == "Q Not Running: Job limit"


def test_what_another_directory_holds_is_no_answer(paths: RegistryPaths) -> None:
    def stale(request: AllocationRequest) -> None:
        for what in ("begun", "report"):
            write_json(paths.probe(request.id, what), {"nonce": "of another", "host": "h"})

    assert not sent(paths, OneNode(stale)).course(0.2).begun


def test_one_that_ends_without_an_answer_is_not_waited_for(paths: RegistryPaths) -> None:
    def fail(request: AllocationRequest) -> None:
        paths.element_output(request.id, 1).write_text("module: command not found\n\nno python\n")

    made = sent(paths, OneNode(fail, status=ENDED))
    course = made.course(60.0)

    assert course.mourned is not None
    assert course.answered is None
    assert made.last_words() == "module: command not found / no python"


def test_it_is_cancelled_and_a_refusal_is_told(paths: RegistryPaths) -> None:
    node = OneNode(lambda _request: None)
    made = sent(paths, node)

    assert made.cancel() == ""
    assert node.status is ENDED
    node.trouble = LaunchPostponed("qdel: cannot connect")
    assert made.cancel() == "qdel: cannot connect"
