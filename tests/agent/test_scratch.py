"""Where an agent puts its private directory on the node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchpilot_agent import scratch
from batchpilot_agent.scratch import CHOSEN, NAMES, abandoned, make_scratch, new_scratch


STRANGER = 4321


def local(_path: Path) -> bool:
    return False


@pytest.mark.parametrize("name", NAMES)
def test_it_is_where_the_batch_system_says(tmp_path: Path, name: str) -> None:
    assert new_scratch({name: str(tmp_path)}, local).parent == tmp_path


def test_the_disk_of_the_job_goes_before_what_may_be_everybodys(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()

    found = new_scratch({"TMPDIR": str(tmp_path), "SLURM_TMPDIR": str(own)}, local)

    assert found.parent == own


@pytest.mark.parametrize("path", ["/nowhere/at/all", "", "relative", "/etc/passwd"])
def test_what_is_no_directory_of_this_node_is_passed_over(path: str) -> None:
    assert new_scratch({"TMPDIR": path}, local).parent == Path("/tmp")  # noqa: S108 - what is to be found


def test_a_shared_file_system_is_passed_over(tmp_path: Path) -> None:
    found = new_scratch({"TMPDIR": str(tmp_path)}, lambda path: path == tmp_path)

    assert found.parent == Path("/tmp")  # noqa: S108 - what is to be found


def test_where_all_is_shared_the_first_is_better_than_nothing(tmp_path: Path) -> None:
    assert new_scratch({"TMPDIR": str(tmp_path)}, lambda _: True).parent == tmp_path


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """Give a directory of this user in another one."""
    (tmp_path / "outer" / "inner").mkdir(parents=True, mode=0o755)
    return tmp_path / "outer" / "inner"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("above", [False, True], ids=["itself", "above"])
def test_a_directory_that_others_may_write_is_passed_over(
    inner: Path, *, above: bool, mode: int
) -> None:
    (inner.parent if above else inner).chmod(mode)
    assert new_scratch({"TMPDIR": str(inner)}, local).parent == Path("/tmp")  # noqa: S108 - what is to be found

    (inner.parent if above else inner).chmod(0o1777)
    assert new_scratch({"TMPDIR": str(inner)}, local).parent == inner


@pytest.mark.parametrize("above", [False, True], ids=["itself", "above"])
def test_a_directory_of_another_user_is_passed_over(inner: Path, *, above: bool) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a directory to another user")
    os.chown(inner.parent if above else inner, STRANGER, -1)

    assert new_scratch({"TMPDIR": str(inner)}, local).parent == Path("/tmp")  # noqa: S108 - what is to be found


def test_a_link_that_somebody_may_lay_anew_is_not_relied_on(inner: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(inner.parent)

    assert new_scratch({"TMPDIR": f"{tmp_path}/link/inner"}, local).parent == inner


def test_where_others_may_write_everywhere_the_first_is_better_than_nothing(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "USUAL", ())
    inner.chmod(0o777)

    assert new_scratch({"TMPDIR": str(inner)}, local).parent == inner


def test_what_the_user_has_chosen_is_taken_as_it_is() -> None:
    found = new_scratch({CHOSEN: "/shared/mine", "SLURM_TMPDIR": "/"}, lambda _: True)

    assert found.parent == Path("/shared/mine")


def test_nobody_can_guess_the_name_and_sockets_in_it_can_be_named() -> None:
    names = {new_scratch({}, local).name for _ in range(100)}

    assert len(names) == 100
    assert max(map(len, names)) < 30


def made(parent: Path, *, old: bool = True) -> Path:
    path = new_scratch({CHOSEN: str(parent)})
    make_scratch(path)
    if old:
        os.utime(path, (0, 0))
    return path


def left_by_the_dead(parent: Path) -> Path:
    child = os.fork()
    if child == 0:
        made(parent)
        os._exit(0)
    os.waitpid(child, 0)
    (path,) = (p for p in parent.iterdir() if p.stat().st_mtime == 0)
    return path


def test_what_a_dead_agent_has_left_is_found_once(tmp_path: Path) -> None:
    left = left_by_the_dead(tmp_path)
    made(tmp_path)

    ((path, lock),) = abandoned(tmp_path, local)
    assert path == left
    assert abandoned(tmp_path, local) == []
    os.close(lock)


def test_what_is_young_is_not_taken_for_left(tmp_path: Path) -> None:
    os.utime(left_by_the_dead(tmp_path))

    assert abandoned(tmp_path, local) == []


def test_what_is_of_others_or_was_named_otherwise_is_not_taken_for_left(tmp_path: Path) -> None:
    left = left_by_the_dead(tmp_path)
    left.rename(tmp_path / "others")
    (tmp_path / left.name).symlink_to(tmp_path / "others")

    assert abandoned(tmp_path, local) == []


def test_where_other_hosts_have_theirs_nothing_is_taken_for_left(tmp_path: Path) -> None:
    left_by_the_dead(tmp_path)

    assert abandoned(tmp_path, lambda _: True) == []
