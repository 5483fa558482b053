"""The code of a submission: what is stored, and that only what was stored is loaded."""

# ruff: noqa: ARG005 - jobs take a parameter, needed or not

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchpilot.epochs import Definition, describe_function, is_installed, pickle_function
from batchpilot_agent.errors import CannotPickle, EpochError, ObjectForged, ObjectMissing
from batchpilot_agent.manifest import Manifest, StoredModule
from batchpilot_agent.objects import ObjectStore


if TYPE_CHECKING:
    from tests.agent.execution.conftest import Agent


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


def _as_written(path: Path) -> tuple[int, int]:
    """Name the file and when it was written; a read changes neither, but its atime."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def test_an_object_is_named_by_its_bytes_and_written_once(
    store: ObjectStore, tmp_path: Path
) -> None:
    name = store.put(b"data")
    before = _as_written(tmp_path / name)

    assert store.put(b"data") == name
    assert store.get(name) == b"data"
    assert store.has(name)
    assert not store.has("0" * 64)
    assert _as_written(tmp_path / name) == before
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_changed_object_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    name = store.put(b"data")
    (tmp_path / name).write_bytes(b"dat\x60")

    with pytest.raises(ObjectForged, match="do not match its name"):
        store.get(name)
    with pytest.raises(ObjectMissing, match="define and submit"):
        store.get("f" * 64)


def test_an_unchanged_file_is_not_read_again(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("a = 1")
    first = store.put_file(source)
    os.utime(source, ns=(1, 1))
    source.write_text("a = 2")

    assert store.put_file(source) != first
    assert store.get(store.put_file(source)) == b"a = 2"


def test_a_manifest_comes_back_from_its_bytes() -> None:
    manifest = Manifest(
        function="f" * 64,
        names=("a", "b"),
        positional=("a",),
        passes_job=True,
        more_args=None,
        modules=(StoredModule("m", True, "/m/__init__.py", "e" * 64),),
        path=("/p",),
        work_dir="/w",
        python="3.11",
    )

    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert type(Manifest.from_bytes(manifest.to_bytes()).modules[0]) is StoredModule


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x80", b"\x81\xa1v\x02"])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(EpochError):
        Manifest.from_bytes(data)


def test_a_definition_comes_back_from_its_map() -> None:
    definition = Definition(function="f", names=("a",), positional=("a",), passes_job=True)

    assert Definition.from_wire({**definition.to_wire(), "names": ["a"]}) == definition


def test_libraries_are_not_stored_own_modules_are(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_module.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("my_module")
    manifest = Manifest.from_bytes(agent.store.get(agent.epoch(lambda x: x)))
    modules = {module.name: module for module in manifest.modules}
    del sys.modules["my_module"]

    assert agent.store.get(str(modules["my_module"].source)) == b"A = 1\n"
    assert modules["my_module"].origin == str(tmp_path / "my_module.py")
    assert not {"os", "numpy", "pytest", "batchpilot", "batchpilot_agent"} & modules.keys()
    assert str(tmp_path) in manifest.path
    assert not any(map(is_installed, manifest.path))
    assert manifest.work_dir == str(agent.work_dir)


def test_the_same_code_is_the_same_epoch(agent: Agent) -> None:
    def fun(x: int) -> int:
        return x

    assert agent.epoch(fun) == agent.epoch(fun)


def test_an_import_that_fails_is_told_with_its_traceback(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "breaks_elsewhere.py"
    path.write_text("def f(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("breaks_elsewhere")
    path.write_text("import there_is_no_such_module\n\ndef f(x):\n    return x\n")
    epoch = agent.epoch(module.f)
    del sys.modules["breaks_elsewhere"]
    template = agent.start(epoch)
    kind, error, message, traceback = template.hear()

    assert (kind, error) == ("failed", "ModuleNotFoundError")
    assert message == "No module named 'there_is_no_such_module'"
    assert "import there_is_no_such_module" in traceback
    assert "batchpilot_agent" not in traceback
    assert template.process.wait(60) == 1


@pytest.mark.parametrize("part", ["manifest", "function", "more_args", "module"])
def test_no_code_with_a_flipped_bit_is_loaded(
    agent: Agent, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "loaded"
    (tmp_path / "touches.py").write_text(
        f"open({str(mark)!r}, 'w').close()\ndef f(x, y=0): return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("touches")
    mark.unlink()
    epoch = agent.epoch(module.f, more_args={"y": 1})
    del sys.modules["touches"]
    manifest = Manifest.from_bytes(agent.store.get(epoch))
    source = next(m.source for m in manifest.modules if m.name == "touches")
    name = {
        "manifest": epoch,
        "function": manifest.function,
        "more_args": manifest.more_args,
        "module": source,
    }[part]
    path = agent.paths.objects / str(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    template = agent.start(epoch)
    kind, error, message, _ = template.hear()

    assert (kind, error) == ("failed", "batchpilot_agent.errors.ObjectForged")
    assert "damaged" in message
    assert not mark.exists()


def test_a_missing_working_directory_is_told(agent: Agent) -> None:
    epoch = agent.epoch(lambda x: x)
    agent.work_dir.rmdir()
    _, error, message, _ = agent.start(epoch).hear()

    assert error == "batchpilot_agent.errors.EpochError"
    assert str(agent.work_dir) in message


def test_another_python_is_refused(agent: Agent) -> None:
    import dataclasses  # noqa: PLC0415 - for this test only

    manifest = Manifest.from_bytes(agent.store.get(agent.epoch(lambda x: x)))
    other = agent.store.put(dataclasses.replace(manifest, python="3.1").to_bytes())
    _, error, message, _ = agent.start(other).hear()

    assert error == "batchpilot_agent.errors.EpochError"
    assert "submitted with Python 3.1," in message


class Holder:
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        self.model = {"name": "m", "lock": threading.Lock()}


LOCK = threading.Lock()


def make(kind: str) -> Any:
    holder, lock = Holder(), threading.Lock()
    return {
        "closure": lambda x: lock,
        "global": eval("lambda x: G", {"G": LOCK}),  # noqa: S307 - a global of its own
        "default": lambda x, l=lock: x,  # noqa: E741 - a short name will do
        "deep": lambda x: holder,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param("closure", "lock", id="closure"),
        pytest.param("global", "G", id="global"),
        pytest.param("default", "default 0", id="default"),
        pytest.param("deep", "holder.model['lock']", id="deep"),
    ],
)
def test_what_cannot_be_pickled_is_named(kind: str, path: str) -> None:
    with pytest.raises(CannotPickle) as caught:
        pickle_function(make(kind))

    assert caught.value.fields["path"] == path
    assert "its part" in str(caught.value)
    assert "lock" in str(caught.value)


def test_the_parameters_of_a_function_are_known() -> None:
    def fun(a: int, /, b: int, *more: int, c: int = 1, job: Any = None, **rest: int) -> None: ...

    shape = describe_function(fun)

    assert shape.names == ("a", "b", "c", "job")
    assert shape.positional == ("a",)
    assert shape.required == ("a", "b")
    assert shape.any_name
    assert shape.passes_job
    assert shape.accepts("anything")
    assert not describe_function(lambda a: a).accepts("b")
    assert not describe_function(lambda **rest: rest).passes_job
