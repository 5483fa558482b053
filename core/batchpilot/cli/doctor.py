"""`doctor`: one line a check, with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

from batchpilot.checkup.directory import check_directory
from batchpilot.checkup.finding import Finding, Health
from batchpilot.checkup.machine import check_machine
from batchpilot.checkup.probing import PATIENCE, check_nodes
from batchpilot.checkup.running import check_running
from batchpilot_broker.paths import RegistryPaths

from .failures import FAILED, OK
from .lazy import Command
from .output import console, print_document
from .words import DEFAULT_REGISTRY, complete_registry, json_option, paths_of


COLOURS = {Health.OK: "green", Health.NOTE: "yellow", Health.BAD: "red"}


@click.command(cls=Command)
@click.argument("directory", metavar="[REG]", required=False, shell_complete=complete_registry)
@click.option("--probe", is_flag=True, help="Send a probe where agents would run, for a minute.")
@click.option("--pool", help="Pool to probe, by default the first on other machines.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=PATIENCE,
    show_default=True,
    help="Seconds for the probe to begin.",
)
@json_option
def doctor(
    directory: str | None, probe: bool, pool: str | None, patience: float, as_json: bool
) -> int:
    """Check this machine, and a registry where there is one, and say what to mend.

    With --probe a job of one minute is submitted as agents are, and tells what it finds on its
    node; broker and coordinator are started where they do not run.

    Exit code 0: nothing is to be mended. 1: something is.
    """
    if pool and not probe:
        raise click.UsageError("--pool says where to --probe.")
    paths = paths_of(directory or DEFAULT_REGISTRY) if probe else _paths(directory)
    findings = []
    for finding in _checks(paths, pool, patience if probe else None):
        findings.append(finding)
        if not as_json:
            console().print(_line(finding))
    well = all(finding.health is not Health.BAD for finding in findings)
    if as_json:
        print_document(
            registry=None if paths is None else str(paths.root),
            well=well,
            checks=[_fields(finding) for finding in findings],
        )
    elif paths is None:
        click.echo("No registry is here; to check one: batchpilot doctor REG", err=True)
    return OK if well else FAILED


def _paths(directory: str | None) -> RegistryPaths | None:
    """Return the registry meant; without a word the default one, where it exists."""
    if directory is None and not (Path(DEFAULT_REGISTRY) / "owner.json").exists():
        return None
    return paths_of(directory or DEFAULT_REGISTRY)


def _checks(
    paths: RegistryPaths | None, pool: str | None, patience: float | None
) -> Iterator[Finding]:
    """Yield all findings; a probe is sent where there is patience for it."""
    yield from check_machine()
    if paths is not None:
        yield from check_directory(paths)
        yield from check_running(paths)
    if paths is not None and patience is not None:
        yield from check_nodes(paths, pool, patience)


def _line(finding: Finding) -> Text:
    line = Text.assemble(
        (f"{finding.health:<4}", COLOURS[finding.health]), f"  {finding.check}: {finding.text}"
    )
    return line.append(f" -> {finding.remedy}") if finding.remedy else line


def _fields(finding: Finding) -> dict[str, str | None]:
    return {
        "check": finding.check,
        "health": str(finding.health),
        "text": finding.text,
        "remedy": finding.remedy or None,
    }
