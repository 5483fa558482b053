"""One bed for each batch system, so that one suite can tell whether its launcher conforms."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.beds import (
    Recorder,
    SlurmTestbed,
    as_user,
    give,
    normal_user,
    open_farm,
    open_place,
    open_slurm,
)
from tests.conftest import wait_until
from tests.fakes.farm import Farm

from batchpilot_agent.launchers.batch import BatchLauncher
from batchpilot_agent.launchers.choosing import BATCH_SYSTEMS
from batchpilot_agent.launchers.nouns import AllocationRequest, ElementStatus, Submitted
from batchpilot_agent.launchers.running import Runner, submitting_environment
from batchpilot_agent.launchers.waning import SecondLook
from batchpilot_broker.paths import RegistryPaths


@dataclass(kw_only=True)
class Bed(ABC):
    """A batch system, a launcher that uses it, and what differs between them.

    Attributes:
        launcher: The launcher.
        recorder: Runs its commands.
        place: Directory of this test.
        unknown: An element that never was.
        elsewhere: Variables that name a partition or queue that is not there.
        words: What the batch system says of that.
        signal: What an agent is told at the end of its walltime, "" where it is just killed.
        tells_failure: Whether it says how an element ended.
        patience: Seconds in which its commands find that nobody answers.
    """

    launcher: BatchLauncher
    recorder: Recorder
    place: Path
    unknown: str
    elsewhere: dict[str, str]
    words: str
    signal: str = "SIGTERM"
    tells_failure: bool = True
    patience: float = 30.0
    _numbers: Iterator[int] = field(default_factory=count)
    _ids: list[str] = field(default_factory=list)

    @property
    def gate(self) -> Path:
        """Return what agents wait for."""
        return self.place / "gate"

    def request(self, agents: int = 1, codes: str = "0", **changes: Any) -> AllocationRequest:
        """Return a request of agents that stay until the gate is opened."""
        command = ("python3", str(self.place / "standin.py"), str(self.gate), codes)
        request = AllocationRequest(
            id=f"a{next(self._numbers)}", pool="pool", agents=agents, command=command, walltime=3600
        )
        return replace(request, **changes)

    def submit(self, request: AllocationRequest) -> Submitted:
        """Submit, and have it cancelled at the end of the test."""
        submitted = self.launcher.submit(request)
        self._ids += submitted.ids
        return submitted

    def open(self) -> None:
        """Let the agents end."""
        self.gate.touch()

    def said(self, request: AllocationRequest, element: int = 1) -> list[dict[str, Any]]:
        """Return what an agent said, once it did."""
        path = self.launcher.paths.element_output(request.id, element)
        lines: list[str] = []

        def spoke() -> bool:
            if path.exists():
                lines[:] = [x for x in path.read_text().splitlines(keepends=True) if x[0] == "{"]
            return bool(lines) and lines[-1].endswith("\n")

        wait_until(spoke)
        return [json.loads(line) for line in lines]

    def statuses(self, submitted: Submitted) -> list[ElementStatus]:
        """Return what the batch system says of all elements."""
        return [*self.launcher.states(submitted.elements).values()]

    def states(self, submitted: Submitted) -> list[str]:
        """Return the states of all elements."""
        return [status.state for status in self.statuses(submitted)]

    def wait_for(self, submitted: Submitted, *states: str, seconds: float = 60.0) -> None:
        """Wait until the elements are in these states, by a second look."""
        look = SecondLook(self.launcher)
        wanted = list(states)
        wait_until(
            lambda: [s.state for s in look.states(submitted.elements).values()] == wanted, seconds
        )

    def close(self) -> None:
        """End what is left."""
        if self._ids:
            self.launcher.cancel(self._ids)

    @abstractmethod
    def refuse_next(self) -> str:
        """Have the next submission refused for now; return the words of the refusal."""

    def accept_again(self) -> None:  # noqa: B027 - most refuse once only
        """Take that back."""

    @abstractmethod
    def down(self) -> None:
        """Take the daemon away."""

    @abstractmethod
    def up(self) -> None:
        """Bring it back."""

    def limit(self) -> float:
        """Return the seconds that the site gives to a job that asks for none."""
        return 300.0  # of the bed's partition

    def hasten(self) -> None:  # noqa: B027 - most have nothing that takes a minute
        """Let a minute pass quickly, where that is possible."""


@dataclass(kw_only=True)
class FakeBed(Bed):
    """A fake batch system.

    Attributes:
        farm: Its state.
        refusal: Words of a refusal that is not the last one.
    """

    farm: Farm
    refusal: str

    def refuse_next(self) -> str:
        """Have the next submission refused for now; return the words of the refusal."""
        self.change(refuse=[self.refusal])
        return self.refusal

    def change(self, **changes: Any) -> None:
        """Change how the farm behaves."""
        self.farm.settings = replace(self.farm.settings, **changes)
        give(self.farm.root / "settings.json", self.recorder.user)

    def down(self) -> None:
        """Take the daemon away."""
        (self.farm.root / "down").touch()

    def up(self) -> None:
        """Bring it back."""
        (self.farm.root / "down").unlink()

    def limit(self) -> float:
        """Have the site give some seconds to a job that asks for none, and return them."""
        self.change(usual=5400.0)
        return 5400.0

    def hasten(self) -> None:
        """Let a minute pass quickly."""
        self.change(second=0.02)


@dataclass(kw_only=True)
class RealSlurm(Bed):
    """A real Slurm.

    Attributes:
        testbed: Where it runs.
    """

    testbed: SlurmTestbed

    def refuse_next(self) -> str:
        """Have the next submission refused for now; return the words of the refusal."""
        self.testbed.do("ctl-stop")
        return "Unable to contact slurm controller"

    def accept_again(self) -> None:
        """Take that back."""
        self.testbed.do("ctl-start")

    down = refuse_next  # type: ignore[assignment]  # its words are not asked for
    up = accept_again


_IN_QUEUE = {"elsewhere": {"queue": "nosuch"}}
_FAKES: dict[str, dict[str, Any]] = {
    "PBS": {
        **_IN_QUEUE,
        "unknown": "9999[1].vm",
        "words": "Unknown queue",
        "refusal": "qsub: would exceed queue generic's per-user limit of jobs in 'Q' state",
    },
    "Torque": {
        **_IN_QUEUE,
        "unknown": "9999[1].pali",
        "words": "Unknown queue",
        "refusal": "qsub: submit error (Maximum number of jobs already in queue MSG=total number)",
    },
    "LSF": {
        **_IN_QUEUE,
        "unknown": "9999[1]",
        "words": "No such queue",
        "refusal": "User <tester>: Pending job threshold reached. Job not submitted.",
        "signal": "SIGUSR2",
        "patience": 8.0,  # these wait for ever, once they have said so
    },
    "SGE": {
        **_IN_QUEUE,
        "unknown": "9999.1",
        "words": "unknown queue",
        "refusal": "job rejected: only 10 jobs are allowed per user (current job count: 10)",
        "signal": "",
        "tells_failure": False,
    },
}
_LIMITS = {"LSF": [("USR2", 0.0), ("KILL", 20.0)], "SGE": [("KILL", 0.0)]}
_KILLS = {"LSF": [("INT", 0.0), ("TERM", 1.0), ("KILL", 20.0)], "SGE": [("KILL", 0.0)]}

OpenBed = Callable[..., AbstractContextManager[Bed]]


@pytest.fixture(scope="session")
def real_slurm() -> Iterator[SlurmTestbed]:
    with open_slurm() as testbed:
        yield testbed


def _launcher(
    kind: str, registry: Path, recorder: Recorder, place: Path, user: str
) -> BatchLauncher:
    registry.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "standin.py", place)
    give(place, user)
    return BATCH_SYSTEMS[kind](paths=RegistryPaths(registry), run=recorder, directory=place)


@contextmanager
def open_fake(kind: str, name: str) -> Iterator[FakeBed]:
    """Give a fake batch system, and a registry of this name."""
    user = normal_user()
    with open_place(user) as place, open_farm(kind.lower(), place, user) as (farm, environment):
        runner = Runner(environment=environment, prefix=as_user(user), patience=30.0)
        recorder = Recorder(runner, user)
        launcher = _launcher(kind, place / name, recorder, place, user)
        what: dict[str, Any] = {"farm": farm, "place": place, "recorder": recorder}
        bed = FakeBed(launcher=launcher, **what, **_FAKES[kind])
        settings = farm.settings
        bed.change(limit=_LIMITS.get(kind, settings.limit), kill=_KILLS.get(kind, settings.kill))
        yield bed


@contextmanager
def _open_real(testbed: SlurmTestbed, name: str) -> Iterator[RealSlurm]:
    user = normal_user()
    with open_place(user) as place:
        environment = submitting_environment(testbed.environment)
        recorder = Recorder(Runner(environment=environment, prefix=as_user(user)), user)
        bed = RealSlurm(
            launcher=_launcher("Slurm", place / name, recorder, place, user),
            recorder=recorder,
            place=place,
            unknown="999999_1",
            elsewhere={"partition": "nosuch"},
            words="Invalid partition name specified",
            testbed=testbed,
        )
        try:
            yield bed
        finally:
            bed.close()


@pytest.fixture(params=[*_FAKES, pytest.param("Slurm", marks=pytest.mark.cluster)])
def open_bed(request: pytest.FixtureRequest) -> OpenBed:
    """Give a function that opens a bed with its registry at a place of some name."""
    if request.param == "Slurm":
        testbed = request.getfixturevalue("real_slurm")
        return lambda name="registry": _open_real(testbed, name)
    return lambda name="registry": open_fake(request.param, name)


@pytest.fixture
def bed(open_bed: OpenBed) -> Iterator[Bed]:
    with open_bed() as bed:
        yield bed


@pytest.fixture
def slurm(real_slurm: SlurmTestbed) -> Iterator[RealSlurm]:
    """Give a real Slurm, for what no other batch system has."""
    with _open_real(real_slurm, "registry") as bed:
        yield bed


@pytest.fixture(params=_FAKES)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeBed]:
    with open_fake(request.param, "registry") as bed:
        yield bed
