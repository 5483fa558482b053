"""Instances that are kept: made once, never old, never forged."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchpilot_agent.slot.instances import InstanceCache
from batchpilot_broker.codec import MAC_SIZE
from batchpilot_broker.paths import RegistryPaths


if TYPE_CHECKING:
    from tests.agent.execution.experiments.conftest import Lab

Experiment = Callable[..., bytes]


def counting(mark: Path, factor: int = 1) -> Callable[..., Any]:
    """Return a problem function that leaves a line in a file each time it is called."""
    path = str(mark)

    def make(n: int = 1) -> Any:
        import random  # noqa: PLC0415 - in the job

        with open(path, "a") as file:  # noqa: PTH123 - in the job
            file.write("made\n")
        return [factor * n, random.random()]  # noqa: S311 - the generator that is seeded

    return make


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Give the file that has a line for each instance made."""
    path = tmp_path / "made"
    path.touch()
    return path


def made(mark: Path) -> int:
    return len(mark.read_text().splitlines())


def test_the_second_algorithm_reads_what_the_first_has_made(
    lab: Lab, experiment: Experiment, mark: Path
) -> None:
    lab.problem(counting(mark), seed=3, cache=True)
    lab.algorithm(lambda instance: instance, name="a1")
    lab.algorithm(lambda instance: instance, name="a2")
    rows = [
        experiment("p", a, r, prob_pars={"n": n})
        for a in ("a1", "a2")
        for r in (1, 2)
        for n in (1, 2)
    ]
    values = [row.value for row in lab.run(rows)]

    assert made(mark) == 4
    assert values[:4] == values[4:]
    assert len({str(value) for value in values}) == 4
    assert [path.parent.name for path in lab.kept()] == ["p"] * 4
    assert {path.stat().st_mode & 0o777 for path in lab.kept()} == {0o600}
    assert lab.agent.paths.cache.stat().st_mode & 0o777 == 0o700


def test_results_are_the_same_with_and_without_keeping(
    lab: Lab, experiment: Experiment, mark: Path
) -> None:
    def add(instance: Any) -> float:
        import random  # noqa: PLC0415 - in the job

        return float(instance[1] + random.random())  # noqa: S311 - as above

    rows = [experiment(repl=r) for r in (1, 2, 1, 2)]
    plain = lab.problem(counting(mark), seed=3).algorithm(add).run(rows)
    kept = lab.problem(counting(mark), seed=3, cache=True).run(rows)

    assert [row.value for row in kept] == [row.value for row in plain]
    assert made(mark) == 4 + 2


@pytest.mark.parametrize("change", ["function", "data", "seed", "module"])
def test_what_is_redefined_never_finds_an_old_instance(
    lab: Lab, mark: Path, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "helper_of_problem.py"
    helper.write_text("F = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module(helper.stem)
    lab.problem(counting(mark), data=1, seed=3, cache=True).algorithm()
    lab.value()
    match change:
        case "function":
            lab.problem(counting(mark, 2), data=1, seed=3, cache=True)
        case "data":
            lab.problem(counting(mark), data=2, seed=3, cache=True)
        case "seed":
            lab.problem(counting(mark), data=1, seed=4, cache=True)
        case _:
            helper.write_text("F = 2  # edited\n")
    lab.value()
    del sys.modules[helper.stem]

    assert made(mark) == 2
    assert len(lab.kept()) == 2


def test_nothing_is_kept_without_a_seed_or_without_a_function(lab: Lab, mark: Path) -> None:
    lab.problem(counting(mark), cache=True).algorithm()
    lab.value()
    lab.problem(data=1, seed=1, cache=True)

    assert lab.value() == 1
    assert lab.kept() == []


class Sets:
    """Set an attribute of a module when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "forged", "renamed", "directory"])
def test_a_file_that_does_not_carry_the_seal_is_made_anew_and_told(
    lab: Lab, experiment: Experiment, mark: Path, tmp_path: Path, damage: str
) -> None:
    lab.problem(counting(mark), seed=3, cache=True).algorithm()
    value, other = (row.value for row in lab.run([experiment(repl=1), experiment(repl=2)]))
    files = {pickle.loads(p.read_bytes()[MAC_SIZE:])[1]: p for p in lab.kept()}  # noqa: S301 - our own
    path, evil = files[value[1]], tmp_path / "evil"
    good = path.read_bytes()
    path.unlink()
    match damage:
        case "flipped":
            path.write_bytes(good[:-3] + bytes((good[-3] ^ 1,)) + good[-2:])
        case "short":
            path.write_bytes(good[:-1])
        case "empty":
            path.write_bytes(b"")
        case "forged":
            path.write_bytes(good[:MAC_SIZE] + pickle.dumps(Sets(evil)))
        case "renamed":
            path.write_bytes(files[other[1]].read_bytes())
        case _:
            path.mkdir()
    row = lab.run([experiment(repl=1)])[0]

    assert row.value == value
    assert made(mark) == 3
    assert b"is made anew" in lab.agent.output(row)
    assert not evil.exists()
    assert damage == "directory" or path.read_bytes() == good


def test_a_directory_that_cannot_be_written_only_costs_the_keeping(lab: Lab, mark: Path) -> None:
    lab.agent.paths.cache.write_text("in the way")
    lab.problem(counting(mark), seed=3, cache=True).algorithm()
    row = lab.run([pickle.dumps(("p", "a", 1, pickle.dumps(({}, {}))))])[0]

    assert row.value[0] == 1
    assert b"is not kept" in lab.agent.output(row)


def test_a_full_disk_only_costs_the_keeping(lab: Lab, experiment: Experiment) -> None:
    def large() -> bytes:
        import resource  # noqa: PLC0415 - in the job
        import signal  # noqa: PLC0415 - as above

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))
        return bytes(4 << 20)

    lab.problem(large, seed=3, cache=True).algorithm(lambda instance: instance[:3] + b"!")
    row = lab.run([experiment()])[0]

    assert row.value == b"\0\0\0!"
    assert b"is not kept" in lab.agent.output(row)
    assert lab.kept() == []


def test_an_instance_that_cannot_be_pickled_is_made_for_each(
    lab: Lab, experiment: Experiment, mark: Path
) -> None:
    path = str(mark)

    def make() -> Any:
        with open(path, "a") as file:  # noqa: PTH123 - in the job
            file.write("made\n")
        return (i for i in range(3))

    lab.problem(make, seed=3, cache=True).algorithm(lambda instance: [*instance])
    rows = lab.run([experiment()] * 2)

    assert [row.value for row in rows] == [[0, 1, 2]] * 2
    assert made(mark) == 2
    assert b"cannot be kept" in lab.agent.output(rows[0])


def test_a_registry_with_another_secret_makes_its_own(lab: Lab, mark: Path) -> None:
    lab.problem(counting(mark), seed=3, cache=True).algorithm()
    value = lab.value()
    lab.agent.paths.secret.write_bytes(bytes(32))

    assert lab.value() == value
    assert made(mark) == 2


def test_the_data_that_an_algorithm_sees_is_untouched_whoever_made_the_instance(
    lab: Lab, experiment: Experiment
) -> None:
    def spoil(data: Any) -> int:
        data.append(2)
        return len(data)

    lab.problem(spoil, data=[1], seed=3, cache=True).algorithm(
        lambda data, instance: (data, instance)
    )

    assert [row.value for row in lab.run([experiment()] * 2)] == [([1], 2)] * 2


def test_an_exception_while_making_keeps_nothing(tmp_path: Path) -> None:
    cache = InstanceCache(RegistryPaths(tmp_path))

    def make() -> Any:
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        cache.get("p", "k", make)
    assert list(tmp_path.iterdir()) == []
