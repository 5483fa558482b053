"""The registry as users have it: all parts in one class, and how to make and open it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from batchpilot.configuration import ConfFile, Names, checked_names, configuration
from batchpilot.dependencies import try_dependencies
from batchpilot.errors import DefinitionError
from batchpilot.notices import warn
from batchpilot.pools import to_records
from batchpilot.store.adoption import Place, adopt, place_of
from batchpilot.store.owner import read_owner

from .base import make_files, open_paths
from .code import Coding
from .collecting import Collecting
from .defining import Defining
from .exporting import Exporting
from .finding import Finding
from .labels import Labelling
from .logs import Logging
from .sweeping import Sweeping
from .tables import Tabulating
from .testing import Testing
from .waiting import Waiting
from .withdrawing import Withdrawing


class Registry(
    Defining,
    Exporting,
    Sweeping,
    Withdrawing,
    Waiting,
    Testing,
    Collecting,
    Logging,
    Coding,
    Labelling,
    Tabulating,
    Finding,
):
    """Be the registry of a study; made by `make_registry`, opened again by `load_registry`."""

    def __repr__(self) -> str:
        with self._db.read() as tx:
            jobs = self._last_job(tx)
        backend = ", ".join(type(pool).__name__ for pool in self.pools)
        return (
            "Job Registry\n"
            f"  Backend  : {backend}\n"
            f"  File dir : {self.file_dir}\n"
            f"  Work dir : {self.work_dir}\n"
            f"  Jobs     : {jobs}\n"
            f"  Seed     : {self.seed}\n"
            f"  Writeable: {self.writeable}"
        )


def make_registry(  # noqa: PLR0913 - all that can be said of a study at its beginning
    file_dir: str | os.PathLike[str] | None = "registry",
    *,
    seed: int | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    packages: Names = (),
    source: Names = (),
    conf_file: ConfFile = None,
) -> Registry:
    """Make a registry.

    Args:
        file_dir: Directory to make; None for a temporary one.
        seed: Positive; job i is seeded with seed + i. By default drawn at random from 1..32767.
        work_dir: Directory in which jobs run, by default the current one.
        packages: Modules that agents import before they call the jobs' functions.
        source: Files, relative ones below `work_dir`, that agents run before: what they define is
            found by the jobs' functions as globals. Both are tried in this session, too, with a
            warning where they fail.
        conf_file: A `batchpilot.toml`; None to search for one, False for none. What is given here
            goes before what it says.

    Raises:
        RegistryExists: Something is at `file_dir` already.
        DefinitionError: The seed is no positive whole number, there is no work_dir, or the
            configuration file says what is not understood.

    Example:
        >>> reg = make_registry("study", seed=1)
    """
    conf = configuration(conf_file)
    seed = conf.seed if seed is None else seed
    _check_seed(seed)
    where = Path(work_dir or conf.work_dir or ".").expanduser().absolute()
    if not where.is_dir():
        raise DefinitionError(f"work_dir {where} is no directory", remedy="make it first")
    settings = {
        "packages": checked_names(packages, "packages") or conf.packages,
        "source": checked_names(source, "source") or conf.source,
        "default_resources": conf.default_resources,
        "max_concurrent_jobs": conf.max_concurrent_jobs,
        "pools": to_records(conf.pools) if conf.pools else None,
        "metrics": asdict(conf.metrics) if conf.metrics else None,
        "log_format": conf.log_format,
    }
    kept = {name: json.dumps(value) for name, value in settings.items() if value}
    registry = Registry(make_files(file_dir, seed=seed, kind="map", work_dir=where, settings=kept))
    _try_dependencies(registry)
    return registry


def load_registry(
    file_dir: str | os.PathLike[str] = "registry",
    *,
    writeable: bool = True,
    as_copy: bool = False,
) -> Registry:
    """Open an existing registry.

    Its packages are imported and its source files run in this session, with a warning where that
    fails, or where its work_dir is gone.

    A copy (another directory or user than the registry was made for, on the host that owns it) is
    adopted: it becomes a registry of its own, and jobs handed out in the original are not
    submitted in it.

    Args:
        file_dir: Its directory.
        writeable: False to open it for reading only. Where the directory cannot be written, the
            registry is opened for reading and a changing call says why.
        as_copy: Adopt the directory as a copy also where only you can know that it is one: on
            another host than the one that owns the registry.

    Raises:
        RegistryMissing: There is none.

    Example:
        >>> with load_registry("study") as reg:
        ...     print(reg.get_status())
    """
    registry = open_registry(file_dir, writeable=writeable, as_copy=as_copy)
    if not registry.work_dir.is_dir():
        warn(f"work_dir {registry.work_dir} does not exist: no job can run")
    _try_dependencies(registry)
    return registry


def open_registry(
    file_dir: str | os.PathLike[str], *, writeable: bool = True, as_copy: bool = False
) -> Registry:
    """Open an existing registry as `load_registry` does, without running any code of the user's."""
    paths = open_paths(file_dir)
    if not writeable:
        return Registry(paths, writeable=False, why_read_only="as asked by writeable=False")
    if not os.access(paths.root, os.W_OK):
        return Registry(paths, writeable=False, why_read_only="you may not write there")
    place = place_of(paths)
    if place is Place.COPY or as_copy:
        count = adopt(paths)
        warn(f"{paths.root} is a copy and now a registry of its own; {count} jobs were taken back")
    elif place is Place.ELSEWHERE:
        host = read_owner(paths).host
        return Registry(paths, writeable=False, why_read_only=f"{host} owns it")
    return Registry(paths)


def _try_dependencies(registry: Registry) -> None:
    try_dependencies(packages=registry.packages, source=registry.source, work_dir=registry.work_dir)


def _check_seed(seed: object) -> None:
    whole = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 1
    if seed is not None and not whole:
        raise DefinitionError(
            f"seed={seed!r} is no positive whole number", remedy="give one, or None"
        )


__all__ = ["Registry", "load_registry", "make_registry", "open_registry"]
