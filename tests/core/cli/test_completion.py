"""Completion, asked as a shell asks: words in COMP_WORDS, the answer on stdout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.core.conftest import HandMade

from batchpilot.registry.labels import Labelling

from .conftest import Call


BREAKS = " \t\n\"'@><=;|&(:"
"""Where bash ends a word, unless it is told otherwise."""

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(tmp_path: Path) -> Complete:
    def ask(*words: str, shell: str = "bash", breaks: str = BREAKS) -> list[str]:
        code = "import sys; from batchpilot.cli import main; sys.exit(main())"
        asked = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "_BATCHPILOT_COMPLETE": f"{shell}_complete",
                "COMP_WORDS": "\n".join(["batchpilot", *words]),
                "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
                "COMP_WORDBREAKS": breaks,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.stderr == ""
        return asked.stdout.splitlines()

    return ask


def test_commands_and_options_are_completed(complete: Complete) -> None:
    assert complete("co") == ["plain,coordinator", "plain,completion"]
    assert complete("agents", "s") == ["plain,start", "plain,stop"]
    assert "plain,--limit" in complete("jobs", "--")
    assert complete("jobs", "--state", "ex") == ["plain,expired"]
    assert complete("completion", "z") == ["plain,zsh"]


def test_commands_are_completed_without_loading_them() -> None:
    code = (
        "import sys; from batchpilot.cli import program\n"
        "import click; program.shell_complete(click.Context(program), 'j')\n"
        "print(*sys.modules)"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert {"numpy", "batchpilot.cli.jobs"}.isdisjoint(asked.stdout.split())


def test_the_first_word_is_a_directory_or_a_selector(complete: Complete) -> None:
    assert complete("status", "re") == ["dir,re"]
    assert complete("jobs", "re") == ["dir,re"]
    assert complete("grep", "re") == ["dir,re"]
    assert complete("jobs", "registry", "a") == ["plain,all"]
    assert complete("jobs", "registry", "1,@exp", breaks="") == ["plain,1,@expired"]


def test_words_that_bash_has_broken_are_completed_piece_by_piece(complete: Complete) -> None:
    assert complete("jobs", "@", "er") == ["plain,error"]
    assert complete("jobs", "registry", "@", "not-s") == [
        "plain,not-submitted",
        "plain,not-started",
    ]
    assert complete("jobs", "registry", "1-3,", "@", "exp") == ["plain,expired"]
    assert complete("jobs", "@er", breaks=" ") == ["plain,@error"]


def test_tags_of_the_registry_are_completed(
    lecture: HandMade, tmp_path: Path, complete: Complete
) -> None:
    assert isinstance(lecture.registry, Labelling)
    lecture.registry.add_job_tags([1, 2], ["fast", "first"])
    lecture.registry.add_job_tags([3], "slow")
    study = str(lecture.registry.file_dir)
    (tmp_path / "registry").symlink_to(study)

    assert complete("jobs", study, "tag", ":", "f") == ["plain,fast", "plain,first"]
    assert complete("jobs", "tag:s", breaks=" ") == ["plain,tag:slow"]
    assert complete("kill", study, "tag", ":") == ["plain,fast", "plain,first", "plain,slow"]
    assert complete("jobs", "1-3", "tag:s", breaks=" ") == ["plain,tag:slow"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_whole_words(shell: str, complete: Complete) -> None:
    answer = "\n".join(complete("jobs", "registry", "@err", shell=shell))

    assert "@error" in answer


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(shell: str, call: Call) -> None:
    code, out, err = call("completion", shell)

    assert code == 0
    assert f"_BATCHPILOT_COMPLETE={shell}_complete" in out
    assert "call this in" in err
    assert call("completion", "tcsh")[0] == 2


def test_bash_takes_the_script(call: Call, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    script = tmp_path / "completion.bash"
    script.write_text(call("completion", "bash")[1])

    said = subprocess.run(
        [bash, "--norc", "-c", f"source {script}; complete -p batchpilot"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "-F _batchpilot_completion batchpilot" in said.stdout
