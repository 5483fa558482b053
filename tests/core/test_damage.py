"""Bytes that rot: whatever is flipped or cut off, in whichever file, is told, and repaired or not.

A small registry whose nine jobs are done is copied, one of its files damaged at random places.
What can still be read is right, what cannot be read is told by `doctor`, and `repair` brings back
all but the records that were hit.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.conftest import HandMade

from batchpilot.checkup.directory import check_directory
from batchpilot.checkup.finding import Health
from batchpilot.errors import BatchpilotError
from batchpilot.notices import BatchpilotWarning
from batchpilot.registry.whole import Registry, load_registry, make_registry
from batchpilot.repair import repair
from batchpilot_agent.segments import create_segment
from batchpilot_broker.access import key_mark
from batchpilot_broker.frames import Kind, pack_frame
from batchpilot_broker.paths import RegistryPaths


JOBS = 9
NEWEST = 2 * 10**18
KINDS = {
    "database": "registry-1.db",
    "backup": f"backup/registry-{NEWEST}.db",
    "results": "segments/a1.results",
    "logs": "segments/a1.logs",
    "owner": "owner.json",
    "secret": "secret",
}
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a directory of its own

KEY = ("owner", "secret")
"""Whose damage a repair cannot undo: neither tells what the key was."""

NAMES = {"working directory"}
"""What is only a name: whether that is damaged or was changed, nothing but the user can tell."""

Flips = list[tuple[float, int]]
flips = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
    min_size=1,
    max_size=3,
    unique_by=lambda flip: flip,
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the registry that is copied."""
    root = tmp_path_factory.mktemp("sound")
    with make_registry(root / "registry", seed=1, work_dir=root) as registry:
        registry.batch_map(lambda i: i, i=range(1, JOBS + 1))
        hand = HandMade(registry)
        hand.submit(range(1, JOBS + 1))
        for job in range(1, JOBS + 1):
            hand.done(job, job * 10, log=[f"job {job}\n".encode()])
        with registry.database.write() as tx:
            (number, _), size = (
                tx.execute("read_segment", "a1.results").fetchone(),
                registry.paths.results("a1").stat().st_size,
            )
            tx.execute("move_segment", size, number)
        registry.database.back_up(NEWEST)
    for path in (root / "registry" / "backup").iterdir():
        if path.name != f"registry-{NEWEST}.db":
            path.unlink()
    return root / "registry"


@contextmanager
def copied(sound: Path) -> Iterator[RegistryPaths]:
    """Give a copy that is not taken for one: it has the place of the registry itself."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as place:
        root = Path(place, "registry")
        shutil.copytree(sound, root)
        paths = RegistryPaths(root)
        text = paths.owner.read_text()
        was, now = sound.stat().st_ino, root.stat().st_ino
        paths.owner.write_text(text.replace(f'"inode": {was}', f'"inode": {now}'))
        yield paths


def damage(path: Path, places: Flips, cut: float | None) -> None:
    """Flip bits, and cut the end off."""
    data = bytearray(path.read_bytes())
    for where, bit in places:
        data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data if cut is None else data[: int(cut * len(data))])


def told(paths: RegistryPaths) -> set[str]:
    """Return the checks of `doctor` that are bad."""
    return {f.check for f in check_directory(paths) if f.health is Health.BAD}


def readable(registry: Registry) -> set[int]:
    """Return the done jobs whose results can be read; those are right."""
    right = set()
    for job in registry.find_done():
        try:
            result = registry.load_result(job)
        except BatchpilotError:
            continue
        assert result == job * 10
        right.add(job)
    return right


def looked_at(paths: RegistryPaths) -> set[int] | None:
    """Return the jobs whose results can be read, None where the registry cannot be opened."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "work_dir", BatchpilotWarning)
            registry = load_registry(paths.root, writeable=False)
        with registry:
            return readable(registry)
    except BatchpilotError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told_and_repaired(sound: Path, kind: str) -> None:
    @settings(max_examples=int(os.environ.get("BATCHPILOT_TEST_EXAMPLES", "20")))
    @given(places=flips, cut=st.none() | st.floats(0, 1, exclude_max=True))
    def look(places: Flips, cut: float | None) -> None:
        with copied(sound) as paths:
            damage(paths.root / KINDS[kind], places, cut)
            bad, before = told(paths), looked_at(paths)
            assert bad or before == set(range(1, JOBS + 1))

            try:
                repaired = repair(paths)
            except BatchpilotError as error:
                pytest.fail(f"not repaired: {error}")
            after = looked_at(paths)

            assert after is not None
            assert after >= (before or set())
            if kind == "results":
                assert len(after) == JOBS or repaired.gaps or bad or cut is not None
            else:
                assert after == set(range(1, JOBS + 1))
            lasting = {"segments", *({"key"} if kind in KEY else ()), *(bad & NAMES)}
            assert told(paths) <= lasting

    look()


def test_a_lost_owner_record_is_written_anew_for_another_instance(sound: Path) -> None:
    with copied(sound) as paths:
        with load_registry(paths.root) as registry:
            before = (registry.id, registry.instance)
        paths.owner.unlink()

        assert repair(paths).refounded

        with load_registry(paths.root) as registry:
            assert registry.id == before[0]
            assert registry.instance != before[1]
            assert readable(registry) == set(range(1, JOBS + 1))


def test_a_damaged_key_is_told_with_its_remedy(sound: Path) -> None:
    with copied(sound) as paths:
        damage(paths.secret, [(0.5, 3)], None)

        (finding,) = (f for f in check_directory(paths) if f.check == "key")

        assert "not the key that the registry was made with" in finding.text
        assert "batchpilot adopt" in finding.remedy
        assert key_mark(paths.secret.read_bytes()) not in finding.text


@pytest.mark.parametrize("what", ["state", "floor", "outcome"])
def test_pages_that_contradict_themselves_are_told_and_restored(sound: Path, what: str) -> None:
    with copied(sound) as paths:
        with load_registry(paths.root) as registry, registry.database.write() as tx:
            size = len(tx.db.execute(f"SELECT {what} FROM page").fetchone()[0])  # noqa: S608 - a column
            tx.db.execute(f"UPDATE page SET {what} = ?", (b"\x06" * size,))  # noqa: S608 - as above

        assert told(paths) == {"database"}
        repair(paths)

        assert told(paths) == set()
        assert looked_at(paths) == set(range(1, JOBS + 1))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE meta SET key = 'sead' WHERE key = 'seed'",
        "UPDATE meta SET key = 'work_dis' WHERE key = 'work_dir'",
        "UPDATE meta SET value = 'nine' WHERE key = 'last_job'",
        "UPDATE outcome SET id = id + 1000 WHERE id = 3",
        "UPDATE outcome SET segment = 7",
        "UPDATE outcome SET rows = x'00' || substr(rows, 2) WHERE id = 3",
        "UPDATE segment SET id = 7",
        "UPDATE page SET k = 5",
        "ALTER TABLE gate RENAME COLUMN after TO aftep",
    ],
)
def test_what_sqlite_finds_sound_and_cannot_be_is_told_refused_and_restored(
    sound: Path, change: str
) -> None:
    with copied(sound) as paths:
        with closing(sqlite3.connect(paths.root / KINDS["database"])) as connection:
            connection.execute(change)
            connection.commit()

        assert "database" in told(paths)
        seen = looked_at(paths)
        assert seen is None or seen <= set(range(1, JOBS + 1))
        repair(paths)

        assert told(paths) == set()
        assert looked_at(paths) == set(range(1, JOBS + 1))


def test_chunks_go_on_above_the_highest_number_that_agents_may_have_heard_of(sound: Path) -> None:
    with copied(sound) as paths:
        segment = paths.segments / "coordinator-1.results"
        with load_registry(paths.root) as registry:
            create_segment(segment, "coordinator", registry.instance)
        with segment.open("ab") as file:
            for chunk, attempt in ((41, 1), (0, 2)):
                fed = msgpack.packb([chunk, [[1, 1]], attempt])
                file.write(pack_frame(Kind.FED, fed))
        damage(paths.root / KINDS["database"], [], 0.5)

        repair(paths)

        with load_registry(paths.root) as registry, registry.database.write() as tx:
            assert tx.all("all_chunks") == []
            row = tx.execute("add_chunk", "c" * 12, 1, 3, b"", 0, 0.0)
            assert row.lastrowid == 42
