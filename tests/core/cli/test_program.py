"""The command line as a program: help, speed, exit codes, stdout and stderr."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Sequence

import click
import pytest

from batchpilot.cli import COMMANDS, main, program
from batchpilot.cli.failures import Run, told
from batchpilot_broker.errors import BatchpilotError, BrokerUnavailable


HELP_SECONDS = 0.15
HEAVY = {"numpy", "pandas", "redis", "rq", "cloudpickle", "rich", "sklearn", "matplotlib"}


def python(code: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})},
    )


def run_told(error: BaseException, *, debug: bool = False) -> int:
    run = Run(debug=debug)
    with told(run):
        raise error
    return run.code


def all_commands() -> list[Sequence[str]]:
    found: list[Sequence[str]] = []
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        found.append([name])
        if isinstance(command, click.Group):
            found.extend([name, sub] for sub in command.list_commands(context))
    return found


def cpu_of_children() -> float:
    """Return the CPU seconds of ended children: unlike the clock, not those of other programs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_names_every_command_and_takes_at_most_150_ms() -> None:
    def seconds() -> float:
        before = cpu_of_children()
        result = python("from batchpilot.cli import main; main(['--help'])")
        assert all(f"  {name} " in result.stdout for name in COMMANDS)
        return cpu_of_children() - before

    # a busy machine makes a run dearer, never cheaper
    assert any(seconds() < HELP_SECONDS for _ in range(30))


def test_help_loads_nothing_of_weight() -> None:
    result = python(
        "import sys; from batchpilot.cli import main; main(['--help']); print(*sys.modules)"
    )

    loaded = set(result.stdout.splitlines()[-1].split())
    assert "batchpilot.cli" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_command_has_help_and_debug(
    words: Sequence[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0

    told_ = capfd.readouterr().out
    assert told_.startswith(f"Usage: batchpilot {' '.join(words)} ")
    assert "--debug" in told_ or "COMMAND" in told_.splitlines()[0]


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("batchpilot 0.")


@pytest.mark.parametrize(
    "words", [["nonsense"], ["status", "--nonsense"], ["kill"], ["status", "-w", "--json"]], ids=str
)
def test_what_is_not_understood_ends_with_2_and_nothing_on_stdout(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2

    out, err = capfd.readouterr()
    assert out == ""
    assert "Error: " in err


def test_an_error_of_ours_is_a_message_a_remedy_and_its_exit_code(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_told(BrokerUnavailable("no broker answers", remedy="start one")) == 69
    assert capfd.readouterr() == ("", "Error: no broker answers\nRemedy: start one\n")
    assert run_told(BatchpilotError("odd")) == 1
    assert capfd.readouterr() == ("", "Error: odd\n")


def test_any_other_error_is_one_line_that_asks_for_debug(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_told(TypeError("what\nnow")) == 1

    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "TypeError" in err
    assert "--debug" in err


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_told(BatchpilotError("odd", remedy="even"), debug=True) == 1

    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.endswith("Error: odd\nRemedy: even\n")


@pytest.mark.parametrize("words", [["--debug", "status"], ["status", "--debug"]], ids=str)
def test_debug_stands_before_or_behind_the_command(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "/nonexistent/registry"]) == 3
    assert "Traceback" in capfd.readouterr().err


def test_a_missing_registry_ends_with_3_and_a_remedy(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "/nonexistent/registry"]) == 3

    out, err = capfd.readouterr()
    assert out == ""
    assert "Error: no registry in /nonexistent/registry\nRemedy: " in err
    assert "Traceback" not in err


def test_an_interruption_ends_with_130() -> None:
    assert run_told(KeyboardInterrupt()) == 130


def test_an_interruption_that_click_wraps_ends_with_130_but_an_end_of_input_does_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    @click.argument("kind")
    def broken(kind: str) -> None:
        raise {"interrupt": KeyboardInterrupt, "end": EOFError}[kind]

    codes = []
    for kind in ("interrupt", "end"):
        run = Run()
        with told(run):
            broken.main([kind], standalone_mode=False)
        codes.append(run.code)

    assert codes == [130, 1]
    assert "EOFError" in capfd.readouterr().err


def test_a_warning_is_a_line_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with told(Run()):
        warnings.simplefilter("always")
        warnings.warn("mind the gap", UserWarning, stacklevel=1)

    assert capfd.readouterr() == ("", "Warning: mind the gap\n")


def test_the_demo_without_its_packages_names_the_extra() -> None:
    result = python(
        "import sys; sys.modules['sklearn'] = None\n"
        "from batchpilot.cli import main; sys.exit(main(['demo', '--dir', '/nonexistent/demo']))"
    )

    assert result.returncode == 1
    assert "scikit-learn" in result.stderr
    assert "Remedy: pip install 'batchpilot[demo]'" in result.stderr
    assert "Traceback" not in result.stderr
