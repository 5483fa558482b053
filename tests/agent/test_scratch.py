"""Where an agent puts its private directory on the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchpilot_agent.scratch import CHOSEN, NAMES, new_scratch


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


def test_what_the_user_has_chosen_is_taken_as_it_is() -> None:
    found = new_scratch({CHOSEN: "/shared/mine", "SLURM_TMPDIR": "/"}, lambda _: True)

    assert found.parent == Path("/shared/mine")


def test_nobody_can_guess_the_name_and_sockets_in_it_can_be_named() -> None:
    names = {new_scratch({}, local).name for _ in range(100)}

    assert len(names) == 100
    assert max(map(len, names)) < 30
