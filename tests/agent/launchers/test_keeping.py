"""What was submitted is told, also where nothing can be kept of it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from batchpilot_agent.launchers.batch import BatchLauncher
from batchpilot_agent.launchers.keeping import read_submitted
from batchpilot_agent.launchers.nouns import AllocationRequest
from batchpilot_agent.launchers.running import Completed
from batchpilot_agent.launchers.slurm import Slurm
from batchpilot_broker.errors import StorageError
from batchpilot_broker.paths import RegistryPaths


@dataclass
class Sbatch:
    """Take every job, and let something happen to the disk meanwhile.

    Attributes:
        meanwhile: What happens, at each call.
        calls: What was run.
    """

    meanwhile: Callable[[], object]
    calls: list[list[str]] = field(default_factory=list)

    def __call__(
        self, argv: Sequence[str], *, cwd: Path | None = None, stdin: str = ""
    ) -> Completed:
        """Take a job."""
        assert cwd is not None
        assert not stdin
        self.calls.append(list(argv))
        self.meanwhile()
        return Completed(code=0, stdout=f"{len(self.calls)}\n")


def launcher_of(registry: Path, meanwhile: Callable[[], object]) -> tuple[BatchLauncher, Sbatch]:
    sbatch = Sbatch(meanwhile)
    launcher = Slurm(
        paths=RegistryPaths(registry), run=sbatch, directory=registry.parent, environment={}
    )
    launcher._parameters = replace(launcher.usual, max_array=2)
    return launcher, sbatch


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - where it is differs


def fill(place: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (place / "filler").write_bytes(bytes(1 << 20))


def test_agents_that_were_submitted_are_told_where_the_disk_is_full_meanwhile(
    small_disk: Path, request_: AllocationRequest, caplog: pytest.LogCaptureFixture
) -> None:
    launcher, sbatch = launcher_of(small_disk / "registry", lambda: fill(small_disk))

    submitted = launcher.submit(replace(request_, agents=5))

    assert len(sbatch.calls) == 1
    assert (submitted.ids, submitted.elements) == (("1",), ("1_1", "1_2"))
    assert "script-2.sh: No space left on device" in submitted.shortfall
    assert "submitted as 1" in caplog.text


def test_agents_that_were_submitted_are_told_where_their_directory_has_gone(
    tmp_path: Path, request_: AllocationRequest, caplog: pytest.LogCaptureFixture
) -> None:
    registry = tmp_path / "registry"
    launcher, _ = launcher_of(registry, lambda: shutil.rmtree(registry))

    submitted = launcher.submit(replace(request_, agents=2))

    assert (submitted.elements, submitted.shortfall) == (("1_1", "1_2"), "")
    assert "scheduler.log: " in caplog.text
    assert read_submitted(launcher.paths.allocation(request_.id)) is None


def test_nothing_is_submitted_where_the_first_script_cannot_be_kept(
    small_disk: Path, request_: AllocationRequest
) -> None:
    launcher, sbatch = launcher_of(small_disk / "registry", lambda: None)
    launcher.paths.allocation(request_.id).mkdir(parents=True)
    fill(small_disk)

    with pytest.raises(StorageError, match=r"script\.sh: No space left"):
        launcher.submit(request_)

    assert sbatch.calls == []
