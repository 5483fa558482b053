"""What goes from one registry to another beside records: code, and files of the jobs' own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from batchpilot.errors import StorageError
from batchpilot.notices import warn
from batchpilot_agent.errors import ObjectForged, ObjectMissing
from batchpilot_agent.objects import ObjectStore
from batchpilot_broker.paths import RegistryPaths

from .tidying import object_names, remove


Move = Callable[[Iterable[int]], None]


def copy_code(source: ObjectStore, target: ObjectStore, epochs: Iterable[str]) -> None:
    """Copy epochs and all that they name, with a warning where one is not whole.

    Raises:
        StorageError: The target cannot be written.
    """
    lacking = set()
    for epoch in epochs:
        try:
            for name in {epoch, *object_names(source.get(epoch))}:
                if not target.has(name):
                    target.put(source.get(name))
        except (ObjectMissing, ObjectForged) as error:
            lacking.add(error.message)
    for message in sorted(lacking):
        warn(f"code was not copied: {message}")


@contextmanager
def staged(
    source: RegistryPaths, target: RegistryPaths, jobs: Iterable[int], name: str
) -> Iterator[Move]:
    """Copy external directories aside, and give what moves those of some jobs into their place.

    Args:
        source: Where they are.
        target: Where they go.
        jobs: Whose they are.
        name: What to call the place aside; it is gone in the end.

    Raises:
        StorageError: They cannot be copied or moved.
    """
    aside = target.external / f".{name}"
    theirs = {job: source.external / str(job) for job in jobs} if source.external.is_dir() else {}
    found = {job: path for job, path in theirs.items() if path.is_dir()}

    def move_in(chosen: Iterable[int]) -> None:
        for job in found.keys() & set(chosen):
            remove(target.external / str(job))
            (aside / str(job)).rename(target.external / str(job))

    try:
        for job, path in found.items():
            aside.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copytree(path, aside / str(job), symlinks=True)
        yield move_in
    except OSError as error:
        raise StorageError(
            f"external directories cannot be copied: {error}", remedy="check space and rights there"
        ) from error
    finally:
        remove(aside)
