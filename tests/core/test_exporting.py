"""What functions find as globals: exports, what sources define, packages."""

from __future__ import annotations

import builtins
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.errors import DefinitionError, ReadOnly
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import Registry, load_registry, make_registry
from batchpilot_agent.errors import CannotPickle, ImportFailed


colour = "grey"  # a global that the functions below bring along
POOLS = pytest.mark.parametrize("external", [False, True], ids=["here", "external"])


def of_a_module(i: int) -> Any:
    return scale * i  # type: ignore[name-defined]  # noqa: F821 - what an export is for


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with make_registry(tmp_path / "registry", seed=1, work_dir=tmp_path) as registry:
        registry.pools = bp.pools.Interactive()
        yield registry


def listed(registry: Registry) -> list[str]:
    return list(registry.batch_export()["name"])


def test_exports_are_listed_with_the_files_that_hold_them(registry: Registry) -> None:
    table = registry.batch_export({"scale": 10, "colour": "red"})

    assert list(table.columns) == ["name", "uri"]
    assert list(table["name"]) == ["colour", "scale"]
    assert all(Path(uri).parent == registry.paths.objects for uri in table["uri"])
    assert all(Path(uri).exists() for uri in table["uri"])


def test_an_export_can_be_replaced_and_taken_back(registry: Registry) -> None:
    registry.batch_export({"a": 1, "b": 2, "c": 3})
    registry.batch_export({"a": 5}, unexport="b")

    assert listed(registry) == ["a", "c"]
    with pytest.warns(BatchpilotWarning, match="Ignoring unknown export b") as caught:
        registry.batch_export(unexport=["b", "c"])
    assert caught[0].filename == __file__
    assert listed(registry) == ["a"]


def test_without_exports_the_list_is_empty(registry: Registry) -> None:
    table = registry.batch_export()

    assert (list(table.columns), len(table)) == (["name", "uri"], 0)


@pytest.mark.parametrize("name", ["%bla%", "a b", "class", "", 3, "len", "__name__"], ids=str)
def test_names_that_no_global_can_have_are_refused(registry: Registry, name: Any) -> None:
    with pytest.raises(DefinitionError) as caught:
        registry.batch_export({name: 1})

    assert caught.value.remedy
    assert listed(registry) == []


def test_what_cannot_be_pickled_is_refused_by_name(registry: Registry) -> None:
    with pytest.raises(CannotPickle, match="export lock"):
        registry.batch_export({"fine": 1, "lock": threading.Lock()})

    assert listed(registry) == []


def test_a_registry_for_reading_lists_and_refuses(registry: Registry) -> None:
    registry.batch_export({"scale": 10})
    with load_registry(registry.file_dir, writeable=False) as reader:
        assert list(reader.batch_export()["name"]) == ["scale"]
        with pytest.raises(ReadOnly):
            reader.batch_export({"scale": 11})
        with pytest.raises(ReadOnly):
            reader.batch_export(unexport="scale")


@POOLS
def test_jobs_find_exports_wherever_their_functions_live(
    registry: Registry, external: bool
) -> None:
    registry.pools = bp.pools.Interactive(external=external)
    registry.batch_export({"scale": 10, "shift": lambda i: i + scale})  # type: ignore[name-defined]  # noqa: F821 - the other export
    registry.batch_map(lambda i: (of_a_module(i), shift(i)), i=[1, 2])  # type: ignore[name-defined]  # noqa: F821 - an export
    registry.submit_jobs()

    assert registry.reduce_results_list() == [(10, 11), (20, 12)]
    assert registry.test_job(2) == (20, 12)
    assert registry.test_job(2, external=True) == (20, 12)
    assert not hasattr(builtins, "scale")


def test_an_export_goes_before_what_a_function_brings_along(registry: Registry) -> None:
    registry.batch_map(lambda i: (i, colour), i=[1])
    registry.submit_jobs()
    before = registry.load_result(1)
    registry.batch_export({"colour": "red"})
    registry.submit_jobs(1)

    assert (before, registry.load_result(1)) == ((1, "grey"), (1, "red"))
    assert colour == "grey"


def test_an_export_taken_back_is_gone_for_the_next_submission(registry: Registry) -> None:
    registry.batch_export({"scale": 10})
    registry.batch_map(of_a_module, i=[1])
    registry.submit_jobs()
    registry.batch_export(unexport="scale")
    registry.submit_jobs()

    assert registry.find_error() == []
    registry.submit_jobs(1)
    assert "NameError" in registry.get_error_messages()["message"][0]


@POOLS
def test_sources_and_packages_are_there_before_the_function(tmp_path: Path, external: bool) -> None:
    (tmp_path / "one.py").write_text("import math\nFACTOR = 3\ndef treble(i): return FACTOR * i\n")
    (tmp_path / "two.py").write_text("def both(i): return treble(i), math.floor(1.5)\n")
    with make_registry(
        tmp_path / "registry",
        work_dir=tmp_path,
        source=["one.py", tmp_path / "two.py"],
        packages=["colorsys"],
    ) as registry:
        registry.pools = bp.pools.Interactive(external=external)
        registry.batch_map(lambda i: (both(i), "colorsys" in sys.modules), i=[1, 2])  # type: ignore[name-defined]  # noqa: F821 - of a source
        registry.submit_jobs()

        assert registry.reduce_results_list() == [((3, 1), True), ((6, 1), True)]
        assert registry.test_job(2) == ((6, 1), True)
    assert vars(sys.modules["__main__"])["treble"](2) == 6


def test_queued_code_is_the_source_as_it_was(registry: Registry, tmp_path: Path) -> None:
    source = tmp_path / "helpers.py"
    source.write_text("def helper(i): return ('old', i)\n")
    registry.source = source
    registry.batch_map(lambda i: helper(i)[::-1], i=[1])  # type: ignore[name-defined]  # noqa: F821 - of a source
    epoch = registry._store_epoch()
    source.write_text("def helper(i): return ('new', i)\n")

    assert registry._store_epoch() != epoch
    assert registry.test_job(1) == (1, "new")


@POOLS
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": ["nowhere.py"]}, "source file .*nowhere.py could not be read"),
        ({"source": ["broken.py"]}, "ZeroDivisionError: division by zero"),
        ({"packages": ["no_such_package"]}, "No module named 'no_such_package'"),
    ],
    ids=["missing", "failing", "package"],
)
def test_what_fails_is_warned_of_here_and_the_error_of_the_jobs(
    tmp_path: Path, settings: dict[str, list[str]], message: str, external: bool
) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = x / 0\n")
    with pytest.warns(BatchpilotWarning, match="here: ") as caught:
        made = make_registry(tmp_path / "registry", work_dir=tmp_path, **settings)  # type: ignore[arg-type]  # of both kinds
    assert caught[0].filename == __file__
    with made as registry:
        registry.pools = bp.pools.Interactive(external=external)
        registry.batch_map(lambda i: i, i=[1, 2])
        registry.submit_jobs()

        assert registry.find_error() == [1, 2]
        assert registry.get_error_messages()["message"].str.contains(message).all()
        with pytest.raises(ImportFailed):
            registry.test_job(1)
    with pytest.warns(BatchpilotWarning, match="here: "):
        load_registry(tmp_path / "registry").close()


def test_a_missing_work_dir_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    make_registry(tmp_path / "registry", work_dir=tmp_path / "work").close()
    (tmp_path / "work").rmdir()

    with pytest.warns(BatchpilotWarning, match="work_dir .*work does not exist"):
        load_registry(tmp_path / "registry").close()


def test_jobs_run_in_the_work_dir(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "data.txt").write_text("here")
    with make_registry(tmp_path / "registry", work_dir=tmp_path / "work") as registry:
        registry.pools = bp.pools.Interactive()
        registry.batch_map(lambda i: Path("data.txt").read_text() * i, i=[1, 2])
        registry.submit_jobs()

        assert registry.reduce_results_list() == ["here", "herehere"]
        assert registry.test_job(1) == "here"


def test_the_command_line_runs_no_source(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    make_registry(tmp_path / "registry", work_dir=tmp_path, source="helpers.py").close()
    (tmp_path / "ran").unlink()
    from batchpilot.cli import main  # noqa: PLC0415 - it is what is tested

    with warnings.catch_warnings():
        main(["status", str(tmp_path / "registry")])

    assert not (tmp_path / "ran").exists()
