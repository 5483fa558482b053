"""The registry as users have it: all parts in one class, and how to make and open it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchpilot.configuration import ConfFile, Names, checked_names, configuration
from batchpilot.dependencies import try_dependencies
from batchpilot.errors import DefinitionError
from batchpilot.ids import JobIds
from batchpilot.notices import warn
from batchpilot.pools import to_records
from batchpilot.store.adoption import Place, adopt, place_of
from batchpilot.store.experiments import KIND, NAMES
from batchpilot_broker.paths import RegistryPaths

from .base import make_files, open_paths
from .code import Coding
from .collecting import Collecting
from .continuing import MappingResults
from .defining import Defining
from .experiments_found import FindingExperiments
from .experiments_removed import RemovingExperiments
from .exporting import Exporting
from .finding import Finding
from .labels import Labelling
from .logs import Logging
from .merging import Merging
from .reducing import Reducing
from .staffing import Staffing
from .sweeping import Sweeping
from .tables import Tabulating
from .testing import Testing
from .waiting import Waiting
from .withdrawing import Withdrawing


class Registry(
    FindingExperiments,
    RemovingExperiments,
    Reducing,
    MappingResults,
    Merging,
    Defining,
    Exporting,
    Sweeping,
    Staffing,
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

    title = "Job Registry"

    def __repr__(self) -> str:
        lines = self._described()
        width = max(map(len, lines))
        return "\n".join([self.title, *(f"  {k:<{width}}: {v}" for k, v in lines.items())])

    def _described(self) -> dict[str, Any]:
        """Return what is shown of the registry, by what it is called."""
        return {
            "Backend": ", ".join(type(pool).__name__ for pool in self.pools),
            "File dir": self.file_dir,
            "Work dir": self.work_dir,
            "Jobs": self.get_status().defined,
            "Seed": self.seed,
            "Writeable": self.writeable,
        }


class ExperimentRegistry(Registry):
    """Be the registry of experiments; made by `make_experiment_registry`."""

    title = "Experiment Registry"

    def find_jobs(self, expr: Any = None, ids: Any = None) -> JobIds:
        """Return the jobs, or those of `ids`; their parameters are asked for by another call.

        Raises:
            DefinitionError: An expression is given: experiments have parameters of two kinds.
        """
        if expr is not None:
            raise DefinitionError(
                "experiments have parameters of problems and of algorithms",
                remedy="use find_experiments(prob_pars=..., algo_pars=...)",
            )
        return super().find_jobs(None, ids)

    def _described(self) -> dict[str, Any]:
        lines = super()._described()
        counts = {"Problems": len(self.problems), "Algorithms": len(self.algorithms)}
        ends = {name: lines.pop(name) for name in ("Seed", "Writeable")}
        return {**lines, **counts, **ends}


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
    paths = _make(
        file_dir,
        "map",
        {},
        seed=seed,
        work_dir=work_dir,
        packages=packages,
        source=source,
        conf_file=conf_file,
    )
    registry = Registry(paths)
    _try_dependencies(registry)
    return registry


def make_experiment_registry(  # noqa: PLR0913 - as make_registry
    file_dir: str | os.PathLike[str] | None = "registry",
    *,
    seed: int | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    packages: Names = (),
    source: Names = (),
    conf_file: ConfFile = None,
) -> ExperimentRegistry:
    """Make a registry of experiments: of problems, algorithms and replications.

    Args:
        file_dir: Directory to make; None for a temporary one.
        seed: Positive; job i is seeded with seed + i. By default drawn at random from 1..32767.
        work_dir: Directory in which jobs run, by default the current one.
        packages: Modules that agents import before they call the jobs' functions.
        source: Files that agents run before; as for `make_registry`.
        conf_file: A `batchpilot.toml`; None to search for one, False for none.

    Raises:
        RegistryExists: Something is at `file_dir` already.
        DefinitionError: An argument or the configuration file says what is not understood.

    Example:
        >>> reg = make_experiment_registry("study", seed=1)
    """
    paths = _make(
        file_dir,
        KIND,
        {"names": json.dumps(NAMES)},
        seed=seed,
        work_dir=work_dir,
        packages=packages,
        source=source,
        conf_file=conf_file,
    )
    registry = ExperimentRegistry(paths)
    _try_dependencies(registry)
    return registry


def _make(  # noqa: PLR0913 - as above
    file_dir: str | os.PathLike[str] | None,
    kind: str,
    entries: Mapping[str, str],
    *,
    seed: int | None,
    work_dir: str | os.PathLike[str] | None,
    packages: Names,
    source: Names,
    conf_file: ConfFile,
) -> RegistryPaths:
    """Make the files of a registry; what the configuration file says holds where nothing else."""
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
    return make_files(file_dir, seed=seed, kind=kind, work_dir=where, settings={**kept, **entries})


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

    On another host than the one that owns it, a snapshot is read, and changes are asked of the
    owner; where the owner is gone, the first change, or a wait, takes the registry over.

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
        return _opened(paths, "as asked by writeable=False")
    if not os.access(paths.root, os.W_OK):
        return _opened(paths, "you may not write there")
    place = place_of(paths)
    if place is Place.COPY or as_copy:
        count = adopt(paths)
        warn(f"{paths.root} is a copy and now a registry of its own; {count} jobs were taken back")
    registry = _opened(paths)
    if place is Place.ELSEWHERE:
        warn(registry.told_of_owner())
    return registry


def _opened(paths: RegistryPaths, why_read_only: str = "") -> Registry:
    """Return an existing registry as what it is; for reading only, if there is a reason why."""
    registry = Registry(paths, writeable=not why_read_only, why_read_only=why_read_only)
    if registry.kind != KIND:
        return registry
    registry.close()
    return ExperimentRegistry(paths, writeable=not why_read_only, why_read_only=why_read_only)


def _try_dependencies(registry: Registry) -> None:
    try_dependencies(packages=registry.packages, source=registry.source, work_dir=registry.work_dir)


def _check_seed(seed: object) -> None:
    whole = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 1
    if seed is not None and not whole:
        raise DefinitionError(
            f"seed={seed!r} is no positive whole number", remedy="give one, or None"
        )


__all__ = [
    "ExperimentRegistry",
    "Registry",
    "load_registry",
    "make_experiment_registry",
    "make_registry",
    "open_registry",
]
