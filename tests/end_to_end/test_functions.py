"""Which functions can be jobs, how their code gets to the agents, and what is refused."""

from __future__ import annotations

import functools
import math
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp

from .conftest import MakeStudy, Run


TAIL = """
    reg.pools = bp.pools.Local(slots=1)
    reg.batch_map({function}, x=[1, 2, 3])
    reg.submit_jobs()
    reg.wait_for_jobs(timeout=90, progress=False)
    print(reg.reduce_results_list())
"""


def program(head: str, function: str) -> str:
    """Return a script that makes a registry, runs a function of x, and prints the results."""
    made = 'import batchpilot as bp\nreg = bp.make_registry("study", seed=1)\n'
    return textwrap.dedent(head) + made + textwrap.dedent(TAIL.format(function=function))


@pytest.fixture
def local_code(tmp_path: Path) -> Path:
    """Lay a module and a package beside where scripts run."""
    (tmp_path / "helper.py").write_text("FACTOR = 10\ndef scaled(x):\n    return FACTOR * x\n")
    package = tmp_path / "tools"
    package.mkdir()
    (package / "__init__.py").write_text("from .deep import shifted\n")
    (package / "deep.py").write_text("def shifted(x):\n    return x + 100\n")
    (package / "late.py").write_text("def late(x):\n    return x + 1000\n")
    (tmp_path / "alone.py").write_text("def alone(x):\n    return x + 10000\n")
    return tmp_path


def test_a_script_runs_functions_that_use_modules_and_packages_beside_it(
    local_code: Path, make_study: MakeStudy, run_script: Run
) -> None:
    make_study.watch(local_code / "study")
    head = """
        import helper
        from tools import shifted

        def use(x):
            import alone
            from tools.late import late
            return [helper.scaled(x), shifted(x), late(x), alone.alone(x)]
    """
    (local_code / "study.py").write_text(program(head, "use"))

    ended = run_script("study.py")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        str([[10 * x, x + 100, x + 1000, x + 10000] for x in (1, 2, 3)])
    ]


def test_a_function_of_a_module_beside_the_script_is_a_job(
    local_code: Path, make_study: MakeStudy, run_script: Run
) -> None:
    make_study.watch(local_code / "study")
    (local_code / "study.py").write_text(program("import helper\n", "helper.scaled"))

    assert run_script("study.py").stdout.splitlines() == ["[10, 20, 30]"]


def test_code_edited_after_the_submission_does_not_change_queued_jobs(
    local_code: Path, make_study: MakeStudy, run_script: Run
) -> None:
    make_study.watch(local_code / "study")
    head = "import helper\nfrom pathlib import Path\n"
    text = program(head, "helper.scaled").replace(
        "reg.submit_jobs()", "reg.submit_jobs()\nPath('helper.py').write_text('raise SystemExit')"
    )
    (local_code / "study.py").write_text(text)

    assert run_script("study.py").stdout.splitlines() == ["[10, 20, 30]"]


def test_code_typed_into_an_interpreter_runs(
    tmp_path: Path, make_study: MakeStudy, run_script: Run
) -> None:
    """A notebook is like that: functions and constants of a `__main__` without a file."""
    make_study.watch(tmp_path / "study")
    head = """
        OFFSET = 7
        def shifted(x):
            return other(x) + OFFSET

        def other(x):
            return 2 * x

    """

    ended = run_script("-i", "-q", text=program(head, "shifted"))

    assert ended.returncode == 0, ended.stderr
    assert "[9, 11, 13]" in ended.stdout.splitlines()


def test_code_given_on_the_command_line_runs(
    tmp_path: Path, make_study: MakeStudy, run_script: Run
) -> None:
    make_study.watch(tmp_path / "study")
    head = "class Shift:\n    by = 5\n    def apply(self, x):\n        return x + self.by\n\n"

    ended = run_script("-c", program(head, "Shift().apply"))

    assert ended.stdout.splitlines() == ["[6, 7, 8]"], ended.stderr


class Model:
    """Hold something that a bound method needs."""

    def __init__(self, power: int) -> None:
        self.power = power

    def raised(self, x: int) -> int:
        """Return a power."""
        return int(x**self.power)


def power(x: int, exponent: int) -> int:
    return int(x**exponent)


def closure(offset: int) -> Callable[[int], int]:
    return lambda x: x + offset


FUNCTIONS: dict[str, tuple[Callable[[], Any], dict[str, int] | None, list[int]]] = {
    "top level": (lambda: power, {"exponent": 2}, [1, 4, 9]),
    "lambda": (lambda: lambda x: x + 1, None, [2, 3, 4]),
    "closure": (lambda: closure(40), None, [41, 42, 43]),
    "bound method": (lambda: Model(3).raised, None, [1, 8, 27]),
    "partial": (lambda: functools.partial(power, exponent=4), None, [1, 16, 81]),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_function_of_each_kind_is_a_job(make_study: MakeStudy, kind: str) -> None:
    function, more, results = FUNCTIONS[kind]
    registry = make_study()
    registry.batch_map(function(), x=[1, 2, 3], more_args=more)
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=90), registry.get_error_messages()
    assert registry.reduce_results_list() == results


def test_a_builtin_takes_its_vector_by_position(make_study: MakeStudy) -> None:
    registry = make_study()
    registry.batch_map(math.sqrt, x=[1, 4, 9])
    registry.submit_jobs()

    assert registry.wait_for_jobs(timeout=90), registry.get_error_messages()
    assert registry.reduce_results_list() == [1, 2, 3]


def with_lock() -> Callable[[int], int]:
    lock = threading.Lock()

    def locked(x: int) -> int:
        with lock:
            return x

    return locked


def with_generator() -> Callable[[int], int]:
    numbers = (n for n in range(3))

    def drawing(x: int) -> int:
        return x + next(numbers)

    return drawing


@pytest.mark.parametrize(
    ("make", "named"), [(with_lock, "lock"), (with_generator, "numbers")], ids=["lock", "generator"]
)
def test_a_function_that_cannot_be_pickled_is_refused_by_name(
    make_study: MakeStudy, make: Callable[[], Any], named: str
) -> None:
    registry = make_study()

    with pytest.raises(bp.BatchpilotError, match=rf"cannot be pickled.*`{named}`") as caught:
        registry.batch_map(make(), x=[1, 2])

    assert make().__name__ in str(caught.value)
    assert caught.value.remedy
    assert registry.find_jobs() == []
    assert not list(registry.paths.objects.iterdir())


def test_an_open_file_is_refused_by_name(make_study: MakeStudy, tmp_path: Path) -> None:
    registry = make_study()
    with (tmp_path / "data.txt").open("w") as data:

        def writing(x: int) -> int:
            return data.write(str(x))

        with pytest.raises(
            bp.BatchpilotError, match=r"function .*writing cannot be pickled.*`data`"
        ):
            registry.batch_map(writing, x=[1])

    assert registry.find_jobs() == []


@pytest.mark.parametrize("where", ["vector", "more_args"])
def test_a_value_that_cannot_be_pickled_is_refused(make_study: MakeStudy, where: str) -> None:
    registry = make_study()
    lock = threading.Lock()
    given: dict[str, Any] = {"y": [1, lock]} if where == "vector" else {"more_args": {"y": lock}}

    with pytest.raises(bp.BatchpilotError, match=r"cannot be pickled.*lock"):
        registry.batch_map(lambda x, y: (x, y), x=[1, 2], **given)

    assert registry.find_jobs() == []
    assert not list(registry.paths.objects.iterdir())


def test_a_registry_is_usable_after_a_refusal(make_study: MakeStudy) -> None:
    registry = make_study(pool=bp.pools.Interactive())
    with pytest.raises(bp.BatchpilotError):
        registry.batch_map(with_lock(), x=[1, 2])

    registry.batch_map(lambda x: 2 * x, x=[1, 2])
    registry.submit_jobs()

    assert registry.reduce_results_list() == [2, 4]


def test_results_and_exceptions_that_cannot_be_pickled_become_the_jobs_error(
    make_study: MakeStudy,
) -> None:
    def odd(x: int) -> Any:
        if x == 1:
            return threading.Lock()
        if x == 2:
            return (n for n in range(3))
        if x == 3:

            class Unseen(Exception):
                def __init__(self) -> None:
                    super().__init__("nobody has this class")
                    self.lock = threading.Lock()

            raise Unseen
        return x

    registry = make_study()
    registry.batch_map(odd, x=[1, 2, 3, 4])
    registry.submit_jobs()

    assert not registry.wait_for_jobs(timeout=90)
    messages = registry.get_error_messages()
    assert messages["job_id"].tolist() == [1, 2, 3]
    assert "lock" in messages["message"][0]
    assert "generator" in messages["message"][1]
    assert "nobody has this class" in messages["message"][2]
    assert registry.load_result(4) == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a keyword called job": ({"x": [1], "job": [1]}, "'job'.*args="),
    "a missing parameter": ({"x": [1]}, "needs 'y'"),
    "an unknown parameter": ({"x": [1], "y": [1], "z": [1]}, "has no parameter 'z'"),
    "a parameter given twice": ({"x": [1], "y": [1], "more_args": {"y": 1}}, "y given both"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_names_that_do_not_fit_the_function_are_refused(make_study: MakeStudy, what: str) -> None:
    given, message = REFUSED[what]
    registry = make_study(pool=bp.pools.Interactive())

    with pytest.raises(bp.errors.DefinitionError, match=message) as caught:
        registry.batch_map(lambda x, y: x + y, **given)

    assert caught.value.remedy
    assert registry.find_jobs() == []


def test_a_parameter_called_job_can_be_given_by_args(make_study: MakeStudy) -> None:
    registry = make_study(pool=bp.pools.Interactive())
    registry.batch_map(lambda job: job, args={"job": ["a", "b"]})
    registry.submit_jobs()

    assert registry.reduce_results_list() == ["a", "b"]
