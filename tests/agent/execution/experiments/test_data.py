"""Static data: loaded once, mapped, shared, and for every job as it was stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from batchpilot.experiments.data import LARGE_BUFFER, store_data
from batchpilot_agent.errors import CannotPickle
from batchpilot_agent.manifest import Manifest, StoredData, StoredProblem
from batchpilot_agent.objects import ObjectStore
from batchpilot_agent.slot.data import LARGE_STREAM, StaticData


if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.execution.experiments.conftest import Lab

Experiment = Callable[..., bytes]

ARRAY = np.arange(50_000, dtype=np.int64)
SMALL = {"a": [1], "x": ARRAY}
LARGE: dict[str, Any] = {"a": [1], "text": [f"{i:08d}" for i in range(LARGE_STREAM // 8)]}


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Give objects of their own."""
    return ObjectStore(tmp_path)


def loaded(store: ObjectStore, value: Any) -> StaticData:
    data = StaticData(store, store_data(store, value))
    data.load()
    return data


def test_large_buffers_are_objects_of_their_own_and_stored_once(store: ObjectStore) -> None:
    first = store_data(store, {"x": ARRAY, "small": np.zeros(10)})
    second = store_data(store, [ARRAY.copy()])

    assert len(first.buffers) == 1
    assert second.buffers == first.buffers
    assert store.get(first.buffers[0]) == ARRAY.tobytes()
    assert len(store.get(first.stream)) < LARGE_BUFFER


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(ARRAY[::2], id="slice"),
        pytest.param(np.asfortranarray(ARRAY.reshape(500, 100)), id="fortran"),
        pytest.param(ARRAY.reshape(500, 100)[:, 20:], id="columns"),
        pytest.param(pd.DataFrame({"x": ARRAY, "y": ARRAY / 2}), id="table"),
    ],
)
def test_every_kind_of_array_is_mapped(store: ObjectStore, value: Any) -> None:
    stored = store_data(store, value)
    data = loaded(store, value)
    first, second = data.take(), data.take()

    assert stored.buffers
    assert np.array_equal(first, value)
    assert np.array_equal(second, value)
    assert not np.asarray(first if isinstance(first, np.ndarray) else first["x"]).flags.writeable


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(CannotPickle, match="the data of a problem cannot be pickled"):
        store_data(ObjectStore.__new__(ObjectStore), {"f": (i for i in range(3))})


def test_what_nobody_can_change_is_the_same_for_all(store: ObjectStore) -> None:
    data = loaded(store, ("x" * LARGE_STREAM, 1, None))

    assert data.take() is data.take()
    assert not data.spent


def test_an_array_is_given_anew_so_that_its_shape_stays(store: ObjectStore) -> None:
    data = loaded(store, ARRAY)
    data.take().shape = (500, 100)

    assert data.take().shape == ARRAY.shape
    assert not data.spent


def test_large_containers_are_spent_by_their_first_job_and_right_all_the_same(
    store: ObjectStore,
) -> None:
    data = loaded(store, LARGE)
    assert not data.spent
    data.take()["a"].append(2)

    assert data.spent
    assert data.take() == LARGE


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        pytest.param(SMALL, [[3, "done"]], id="small"),
        pytest.param(LARGE, [[1, "leave:data"]] * 3, id="large"),
    ],
)
def test_a_job_does_not_see_what_another_did_to_the_data(
    lab: Lab, experiment: Experiment, data: Any, ends: list[Any]
) -> None:
    def change(data: Any) -> Any:
        before = list(data["a"]), sorted(data)
        data["a"].append(2)
        data["new"] = 1
        return before

    lab.problem(change, data=data).algorithm()
    template = lab.template()
    for end in ends:
        slot = template.fork()
        assert slot.run([experiment()] * 3) == end
        if end[1] != "done":
            assert template.ended() == (slot.pid, 0)

    assert [row.value for row in lab.agent.rows()] == [([1], sorted(data))] * 3


def test_large_data_that_nobody_asks_for_keeps_the_slot_warm(
    lab: Lab, experiment: Experiment
) -> None:
    lab.problem(lambda: 1, data=LARGE).algorithm()

    assert lab.slot().run([experiment()] * 3) == [3, "done"]


def test_arrays_are_mapped_from_the_objects_and_read_only(lab: Lab) -> None:
    def look(data: Any) -> tuple[Any, ...]:
        from pathlib import Path  # noqa: PLC0415 - in the job

        lines = Path("/proc/self/maps").read_text().splitlines()
        try:
            data["x"][0] = 5
        except ValueError as error:
            return lines, str(error)
        return lines, "written"

    lab.problem(look, data=SMALL).algorithm()
    lines, why = lab.value()
    stored = lab.problems["p"].data
    assert stored is not None
    name = stored.buffers[0]
    mapped = [line for line in lines if line.endswith(str(lab.agent.paths.objects / name))]

    assert len(mapped) == 1
    assert mapped[0].split()[1].startswith("r--")
    assert "read-only" in why


def test_data_is_loaded_once_for_all_slots_of_a_template(
    lab: Lab, experiment: Experiment, tmp_path: Path
) -> None:
    mark = tmp_path / "loads"

    class Counting:
        def __setstate__(self, state: dict[str, Any]) -> None:
            import os  # noqa: PLC0415 - in the template
            from pathlib import Path  # noqa: PLC0415 - as above

            self.__dict__.update(state)
            with Path(state["mark"]).open("a") as file:
                file.write(f"{os.getpid()}\n")

    value = Counting()
    value.__dict__["mark"] = str(mark)
    lab.problem(lambda data: type(data).__name__, data=value, name="p")
    lab.problems["q"] = lab.problems["p"]._replace(name="q")
    template = lab.algorithm().template()
    for number in range(3):
        slot = template.fork(number)
        slot.run([experiment("pq"[number % 2])], isolation="process")
        assert template.ended()[1] == 0

    assert mark.read_text().split() == [str(template.process.pid)]
    assert [row.value for row in lab.agent.rows()] == ["Counting"] * 3


@pytest.mark.parametrize("part", ["buffer", "stream", "function"])
def test_a_flipped_bit_is_refused_as_the_jobs_error(lab: Lab, part: str) -> None:
    lab.problem(lambda data: data, data=SMALL).algorithm()
    problem = lab.problems["p"]
    assert problem.data is not None
    name = {
        "buffer": problem.data.buffers[0],
        "stream": problem.data.stream,
        "function": str(problem.function),
    }[part]
    path = lab.agent.paths.objects / name
    epoch = lab.epoch()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    kind, error, message, _ = lab.agent.start(epoch).hear()

    assert (kind, error) == ("failed", "batchpilot_agent.errors.ObjectForged")
    assert "damaged" in message


def test_a_missing_buffer_is_told(lab: Lab) -> None:
    lab.problem(data=SMALL).algorithm()
    epoch, stored = lab.epoch(), lab.problems["p"].data
    assert stored is not None
    (lab.agent.paths.objects / stored.buffers[0]).unlink()

    assert lab.agent.start(epoch).hear()[1] == "batchpilot_agent.errors.ObjectMissing"


def test_data_that_cannot_be_unpickled_is_the_users_error(lab: Lab) -> None:
    class Breaks:
        def __reduce__(self) -> Any:
            return (int, ("no number",))

    lab.problem(data=Breaks()).algorithm()
    _, error, message, _ = lab.agent.start(lab.epoch()).hear()

    assert error == "ValueError"
    assert "no number" in message


def test_a_manifest_of_experiments_comes_back_and_one_of_a_map_stays_as_it_was() -> None:
    stored = StoredProblem("p", None, StoredData("s" * 64, ("b" * 64,)), 3, cache=True)
    common: dict[str, Any] = {"names": ("x",), "work_dir": "/w", "python": "3.11"}
    manifest = Manifest(problems=(stored,), **common)

    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert type(Manifest.from_bytes(manifest.to_bytes()).problems[0].data) is StoredData
    assert b"problems" not in Manifest(function="f" * 64, **common).to_bytes()
    assert cloudpickle.loads(cloudpickle.dumps(manifest)) == manifest
