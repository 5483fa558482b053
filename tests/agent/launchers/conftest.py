"""Launchers whose commands answer what tests let them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batchpilot_agent.errors import LaunchError
from batchpilot_agent.launchers.batch import BatchLauncher
from batchpilot_agent.launchers.choosing import BATCH_SYSTEMS
from batchpilot_agent.launchers.nouns import AllocationRequest
from batchpilot_agent.launchers.running import Completed
from batchpilot_broker.paths import RegistryPaths


@dataclass
class Answers:
    """Answer commands one after another, and note them; then end with code 0 and no word."""

    answers: Iterator[Completed | LaunchError] = field(default_factory=lambda: iter(()))
    calls: list[list[str]] = field(default_factory=list)

    def __call__(
        self, argv: Sequence[str], *, cwd: Path | None = None, stdin: str = ""
    ) -> Completed:
        """Return the next answer."""
        assert cwd is None or cwd.is_dir()
        assert not stdin or stdin.startswith("#!")
        self.calls.append(list(argv))
        answer = next(self.answers, Completed(code=0))
        if isinstance(answer, LaunchError):
            raise answer
        return answer

    def will(self, *answers: Completed | LaunchError) -> None:
        """Let these be the next answers."""
        self.answers = iter(answers)


MakeLauncher = Callable[[str], tuple[BatchLauncher, Answers]]


@pytest.fixture
def make_launcher(tmp_path: Path) -> MakeLauncher:
    """Give a function that makes a launcher of a kind, and what answers its commands."""

    def make(kind: str) -> tuple[BatchLauncher, Answers]:
        answers = Answers()
        paths = RegistryPaths(tmp_path / "registry")
        launcher = BATCH_SYSTEMS[kind](paths=paths, run=answers, directory=tmp_path, environment={})
        launcher._parameters = launcher.usual
        return launcher, answers

    return make


@pytest.fixture
def request_() -> AllocationRequest:
    return AllocationRequest(id="a1", pool="pool", agents=3, command=("python", "-m", "agent"))
