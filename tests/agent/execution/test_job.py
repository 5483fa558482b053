"""What a job can ask of its Job."""

# ruff: noqa: ARG001 - jobs take a parameter, needed or not

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchpilot_agent.errors import CommandFailed
from batchpilot_agent.job import Job
from batchpilot_agent.segments import SegmentWriter, create_segment
from batchpilot_broker.frames import Frame, Kind, pack_frame, scan


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent


def job_in(place: Path) -> Job:
    return Job(
        id=3, attempt=1, pars={"x": 1}, resources={}, seed=4, stream=(1, (0, 3)), registry=place
    )


def test_a_job_knows_itself(agent: Agent) -> None:
    def tell(x: int, y: str, job: Any) -> dict[str, Any]:
        job.external_dir.joinpath("file").write_text("kept")
        names = ("id", "pars", "seed", "attempt", "resources", "repl", "instance_seed")
        return {name: getattr(job, name) for name in names} | {"at": str(job.external_dir)}

    slot = agent.slot(tell, ("x", "y"))
    slot.run([(1, "b")], ids=[12], seed=42, attempt=3, shown={"walltime": 60})
    place = agent.paths.root / "external" / "12"

    assert agent.rows()[0].value == {
        "id": 12,
        "pars": {"x": 1, "y": "b"},
        "seed": 54,
        "attempt": 3,
        "resources": {"walltime": 60},
        "repl": None,
        "instance_seed": None,
        "at": str(place),
    }
    assert (place / "file").read_text() == "kept"
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_program_writes_to_the_log_and_its_failure_says_why(agent: Agent) -> None:
    def run(x: int, job: Any) -> int:
        print("first")  # noqa: T201 - what is tested
        code: int = job.run(f"echo said {x}; echo loud >&2; exit {x}", check=x != 2)
        return code

    slot = agent.slot(run)
    slot.run([(0,), (2,), (3,)])
    fine, unchecked, failed = agent.rows()

    assert fine.value == 0
    assert unchecked.value == 2
    assert agent.output(fine) == b"first\nsaid 0\nloud\n"
    assert agent.output(failed) == b"first\nsaid 3\nloud\n"

    kind, message, traceback = failed.error

    assert kind == "batchpilot_agent.errors.CommandFailed"
    assert "ended with exit code 3; its last lines:\n    said 3\n    loud\n" in message
    assert "first" not in message
    assert "batchpilot_agent/job.py" not in traceback


def test_arguments_go_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "a b"

    assert job_in(tmp_path).run(["touch", out]) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("cmd", "code", "text"),
    [
        pytest.param(["there-is-no-such-program"], 127, "cannot be started", id="missing"),
        pytest.param("kill -9 $$", -9, "was ended by SIGKILL", id="signal"),
        pytest.param(
            ["/bin/sh", "-c", "exit 3"],
            3,
            r"^sh ended with exit code 3; the command: /bin/sh -c exit 3;",
            id="code",
        ),
    ],
)
def test_a_program_that_does_not_end_well_is_told(
    tmp_path: Path, cmd: Any, code: int, text: str
) -> None:
    with pytest.raises(CommandFailed, match=text) as caught:
        job_in(tmp_path).run(cmd)

    assert caught.value.exit_code == code


def test_a_job_is_read_only_and_draws_only_when_asked(tmp_path: Path) -> None:
    job = job_in(tmp_path)

    with pytest.raises(dataclasses.FrozenInstanceError):
        job.id = 4  # type: ignore[misc]  # what is tested

    assert job.rng is job.rng
    assert not (tmp_path / "external").exists()

    other = dataclasses.replace(job, stream=(1, (1, 2)), repl=2, instance_seed=7)

    assert other.rng is not job.rng
    assert (other.id, other.repl, other.instance_seed) == (3, 2, 7)


def frames_of(path: Path) -> list[Any]:
    found = scan(path.read_bytes())
    return [f.kind if isinstance(f, Frame) else "gap" for f in found]


def test_frames_are_appended_where_the_writer_says(tmp_path: Path) -> None:
    path = tmp_path / "a.results"
    create_segment(path, "a", "i")
    one, two = SegmentWriter(path), SegmentWriter(path)
    frame = pack_frame(Kind.CHUNK_STARTED, b"x" * 18)
    positions = [one.append(frame), two.append(frame), one.append(frame)]
    one.close()
    two.close()

    assert positions == [f.pos for f in list(scan(path.read_bytes()))[1:]]  # type: ignore[union-attr]  # no gaps


def test_a_frame_that_does_not_fit_is_written_again_as_a_whole(tmp_path: Path) -> None:
    """The disk is full by the file size limit of a child, and then is not."""
    path = tmp_path / "a.results"
    create_segment(path, "a", "i")
    import os  # noqa: PLC0415 - for this test only
    import resource  # noqa: PLC0415 - as above
    import signal  # noqa: PLC0415 - as above

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            waits: list[bool] = []
            size = path.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))

            def sleep(_: float) -> None:
                free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.setrlimit(resource.RLIMIT_FSIZE, free)

            writer = SegmentWriter(path, on_trouble=waits.append, sleep=sleep)
            writer.write(pack_frame(Kind.CHUNK_STARTED, b"x" * 18))
            code = 0 if waits == [True, False] else 2
        finally:
            os._exit(code)

    assert os.waitpid(pid, 0)[1] == 0
    assert frames_of(path) == [Kind.HEAD, "gap", Kind.CHUNK_STARTED]


def test_a_segment_closed_by_a_job_is_opened_again(tmp_path: Path) -> None:
    import os  # noqa: PLC0415 - for this test only

    path = tmp_path / "a.results"
    create_segment(path, "a", "i")
    writer = SegmentWriter(path, sleep=lambda _: None)
    os.close(writer._fd)
    writer.write(pack_frame(Kind.CHUNK_STARTED, b"x" * 18))
    writer.close()

    assert frames_of(path) == [Kind.HEAD, Kind.CHUNK_STARTED]
