"""The configuration file `batchpilot.toml`: what a new registry begins with.

    max_concurrent_jobs = 200

    [registry]
    packages = ["numpy"]

    [default_resources]
    walltime = 3600

    [[pools]]
    kind = "Local"
    slots = 4

    [metrics]
    listen = "0.0.0.0:9464"

    [logs]
    format = "json"

It is read when a registry is made, and what it says is kept there; arguments of `make_registry` go
before it. The first one found counts: in `$BATCHPILOT_SEARCH_PATH`, the working directory,
`~/.config/batchpilot`, `/etc/xdg/batchpilot`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from batchpilot_broker.journal import LogFormat

from .errors import DefinitionError
from .monitoring import MetricsSettings, checked_log_format, checked_metrics
from .pools import Pool, check_pools, make_pool
from .resources import check_resources


NAME = "batchpilot.toml"

ConfFile = str | os.PathLike[str] | Literal[False] | None
"""A file; None to search for one; False for none."""

Names = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One name, or several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Hold what a configuration file says.

    Attributes:
        seed: Seed of the registry.
        work_dir: Where its jobs run.
        packages: Modules imported before its functions are called.
        source: Files run before its functions are called.
        pools: Pools, None for the default.
        default_resources: Resources of jobs that are submitted without them.
        max_concurrent_jobs: Most jobs at once, None for any number.
        metrics: Where and to whom metrics are shown, None for loopback.
        log_format: How the programs write their logs, text or json.
    """

    seed: int | None = None
    work_dir: str | None = None
    packages: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    pools: tuple[Pool, ...] | None = None
    default_resources: Mapping[str, Any] = field(default_factory=dict)
    max_concurrent_jobs: int | None = None
    metrics: MetricsSettings | None = None
    log_format: str = LogFormat.TEXT


_TOP = ("registry", "pools", "default_resources", "max_concurrent_jobs", "metrics", "logs")
_REGISTRY = ("seed", "work_dir", "packages", "source")
_LOGS = ("format",)


def find_file(name: str) -> Path | None:
    """Return the first file of a name in the places where configuration is looked for."""
    return next((path for place in _places() if (path := place / name).is_file()), None)


def configuration(conf_file: ConfFile = None) -> Configuration:
    """Return what the configuration file says; where there is none, nothing.

    Args:
        conf_file: The file; None to search for it, False for none.

    Raises:
        DefinitionError: It cannot be read, or says something that is not understood; by name.
    """
    if conf_file is False:
        return Configuration()
    path = find_file(NAME) if conf_file is None else Path(conf_file).expanduser()
    return Configuration() if path is None else _read(path)


def checked_names(value: Any, what: str) -> tuple[str, ...]:
    """Return one name or several as a tuple.

    Raises:
        DefinitionError: They are no names.
    """
    names = (value,) if isinstance(value, str | os.PathLike) else tuple(value or ())
    if not all(isinstance(name, str | os.PathLike) and str(name) for name in names):
        raise DefinitionError(f"{what}={value!r} are no names", remedy="give strings")
    return tuple(str(name) for name in names)


def checked_limit(value: Any) -> int | None:
    """Return a number of jobs at once, None for any.

    Raises:
        DefinitionError: It is no positive whole number.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and (not whole or value < 1):
        raise DefinitionError(
            f"max_concurrent_jobs={value!r} is no positive whole number",
            remedy="give one, or None for any number",
        )
    return None if value is None else int(value)


def _places() -> Iterator[Path]:
    yield from map(Path, filter(None, _variable("BATCHPILOT_SEARCH_PATH").split(os.pathsep)))
    yield Path()
    yield Path(_variable("XDG_CONFIG_HOME", "~/.config")).expanduser() / "batchpilot"
    for place in _variable("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep):
        yield Path(place) / "batchpilot"


def _variable(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def _read(path: Path) -> Configuration:
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DefinitionError(
            f"{path} cannot be read: {error}", remedy="correct it, or give another conf_file"
        ) from error
    try:
        return _understood(said)
    except DefinitionError as error:
        raise DefinitionError(f"{path}: {error.message}", remedy=error.remedy) from error


def _understood(said: dict[str, Any]) -> Configuration:
    _refuse_unknown("", said, _TOP)
    registry = _table("registry", said)
    _refuse_unknown("registry.", registry, _REGISTRY)
    pools = said.get("pools")
    if pools is not None and not (isinstance(pools, list) and all(map(_is_table, pools))):
        raise DefinitionError("pools are no tables", remedy="write [[pools]] above each of them")
    resources = _table("default_resources", said)
    check_resources(resources)
    logs = _table("logs", said)
    _refuse_unknown("logs.", logs, _LOGS)
    return Configuration(
        seed=registry.get("seed"),
        work_dir=registry.get("work_dir"),
        packages=checked_names(registry.get("packages"), "packages"),
        source=checked_names(registry.get("source"), "source"),
        pools=None if pools is None else tuple(check_pools([make_pool(pool) for pool in pools])),
        default_resources=resources,
        max_concurrent_jobs=checked_limit(said.get("max_concurrent_jobs")),
        metrics=checked_metrics(_table("metrics", said)) if "metrics" in said else None,
        log_format=checked_log_format(logs.get("format", LogFormat.TEXT)),
    )


def _table(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    table = said.get(name, {})
    if not isinstance(table, dict):
        raise DefinitionError(f"{name} is no table", remedy=f"write [{name}] above its entries")
    return table


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _refuse_unknown(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [f"{where}{name}" for name in table if name not in known]
    if unknown:
        raise DefinitionError(
            f"unknown: {', '.join(unknown)}",
            remedy=f"known are {', '.join(where + name for name in known)}",
        )
