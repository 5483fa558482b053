"""The words that many commands share: REG, IDS and `--json`, and what they stand for.

Where only one word is given, it is IDS if it reads like ids (`3`, `1-10,15`, `@error`, `tag:x`,
`all`) and REG otherwise; a registry with such a name is written `./3`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from batchpilot.errors import DefinitionError, JobsNotFound
from batchpilot.ids import JobIds, parse_selector
from batchpilot.registry import whole
from batchpilot.registry.base import open_paths
from batchpilot.registry.whole import Registry
from batchpilot_broker.paths import RegistryPaths

from .completing import WORDS, complete_registry, complete_target


__all__ = [
    "DEFAULT_REGISTRY",
    "Target",
    "complete_registry",
    "counted",
    "json_option",
    "open_registry",
    "paths_of",
    "registry_argument",
    "target_argument",
]

DEFAULT_REGISTRY = "registry"

_PART = r"(?:\d+(?:-\d+)?|@[\w-]+|tag:[^,]+|all)"
_IDS = re.compile(rf"{_PART}(?:,{_PART})*,?")

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON document, as docs/cli.md says."
)

registry_argument = click.argument(
    "directory", metavar="[REG]", default=DEFAULT_REGISTRY, shell_complete=complete_registry
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Hold which registry is meant, and which of its jobs, if any were named."""

    directory: str
    ids: str | None

    @classmethod
    def of(cls, words: Sequence[str]) -> Target:
        """Return what [REG] [IDS] mean.

        Example:
            >>> Target.of(["1-3", "7"])
            Target(directory='registry', ids='1-3,7')
        """
        if words and not _IDS.fullmatch(words[0]):
            return cls(directory=words[0], ids=",".join(words[1:]) or None)
        return cls(directory=DEFAULT_REGISTRY, ids=",".join(words) or None)

    def open(self, *, writeable: bool = False) -> Registry:
        """Return the registry."""
        return open_registry(self.directory, writeable=writeable)

    def jobs(self, registry: Registry) -> JobIds | None:
        """Return the jobs named, None where none were.

        Raises:
            click.UsageError: The ids make no sense.
            JobsNotFound: Ids were named and none of them exists.
        """
        if self.ids is None:
            return None
        try:
            found = parse_selector(self.ids, registry)
        except DefinitionError as error:
            raise click.UsageError(str(error)) from error
        if not found and self.ids.replace(",", "").replace("-", "").isdecimal():
            raise JobsNotFound(
                f"{registry.file_dir} has no job {self.ids}", remedy="see `batchpilot jobs`"
            )
        return found

    def one(self, registry: Registry) -> int:
        """Return the one job named.

        Raises:
            click.UsageError: There are several.
            JobsNotFound: It does not exist.
        """
        ids = self.jobs(registry)
        if ids is None or len(ids) != 1:
            raise click.UsageError(f"One job is shown at a time, {self.ids} are {len(ids or ())}.")
        return ids[0]


def target_argument(*, ids: str = "[IDS]") -> Callable[[Any], Any]:
    """Return the argument [REG] IDS of a command; with `ids="IDS"` ids must be given."""

    def read(context: click.Context, _: click.Parameter, words: tuple[str, ...]) -> Target:
        context.meta[WORDS] = words
        target = Target.of(words)
        if target.ids is None and not ids.startswith("["):
            raise click.UsageError(f"Missing {ids}, e.g. 1-10,15 or @error.", context)
        return target

    return click.argument(
        "target",
        nargs=-1,
        metavar=f"[REG] {ids}",
        callback=read,
        shell_complete=complete_target,
    )


def open_registry(directory: str, *, writeable: bool = False) -> Registry:
    """Return a registry, by default for reading only."""
    return whole.open_registry(directory, writeable=writeable)


def paths_of(directory: str) -> RegistryPaths:
    """Return the files of a registry without opening it."""
    return open_paths(Path(directory))


def counted(jobs: int) -> str:
    """Return a number of jobs in words."""
    return "1 job" if jobs == 1 else f"{jobs} jobs"
