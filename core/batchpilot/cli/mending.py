"""`repair` and `adopt`: for a registry that was damaged, and one that was copied."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batchpilot.errors import AlreadyOwned
from batchpilot.repair import Repaired
from batchpilot.repair import repair as repair_registry
from batchpilot.store.adoption import Place, place_of
from batchpilot.store.adoption import adopt as adopt_registry
from batchpilot.store.owner import SILENT_AFTER, Owner, read_owner
from batchpilot_broker.paths import RegistryPaths

from .lazy import Command
from .words import counted, paths_of, registry_argument


@click.command(cls=Command)
@registry_argument
def repair(directory: str) -> None:
    """Rebuild a registry's database from the newest sound copy and the segments.

    Nothing may run; what was finished is kept, what was under way is queued again.
    """
    paths = RegistryPaths(Path(directory).expanduser().absolute())
    _tell(paths, repair_registry(paths))


def _tell(paths: RegistryPaths, done: Repaired) -> None:
    whole = done.source.name == done.before and done.source.parent == paths.root
    began = f"the database {done.before}, which is sound" if whole else f"{_short(paths, done)}"
    click.echo(f"Began with {began}.")
    if done.refounded:
        click.echo("owner.json was lost or damaged: it was written anew, for another instance.")
    click.echo(f"Restored from segments: the ends of {counted(done.ended)}.")
    if done.revoked:
        click.echo(
            f"Taken back, as killed, reset or submitted again later: {counted(done.revoked)}."
        )
    if done.unknown:
        click.echo(f"Not restored: {counted(done.unknown)} of a submission that the copy lacks.")
        click.echo(f"  -> batchpilot submit {paths.root} @not-submitted")
    if done.gaps:
        click.echo(f"Not restored: {done.gaps} damaged stretches of segments.")
        click.echo("  -> submit those jobs again whose results cannot be read")
    if not (done.unknown or done.gaps):
        click.echo("Nothing was found that could not be restored.")
    click.echo(f"To go on: batchpilot wait {paths.root}", err=True)


def _short(paths: RegistryPaths, done: Repaired) -> str:
    return f"the copy {done.source.relative_to(paths.root)}; the database is damaged or lost"


@click.command(cls=Command)
@registry_argument
def adopt(directory: str) -> None:
    """Make a copy a registry of its own.

    It gets a new key and no broker; jobs that were handed out in the original are not submitted
    here, and pools are the default again.
    """
    paths = paths_of(directory)
    owner = read_owner(paths)
    _refuse_where_it_runs(paths, owner)
    taken = adopt_registry(paths)
    click.echo(f"{paths.root} is a registry of its own now, owned by {read_owner(paths).host}.")
    if taken:
        jobs = counted(taken)
        click.echo(f"{jobs} handed out in the original: not submitted here.")
        click.echo(f"  -> batchpilot submit {paths.root} @not-submitted")


def _refuse_where_it_runs(paths: RegistryPaths, owner: Owner) -> None:
    if owner.coordinator_alive and place_of(paths) is Place.ITSELF:
        raise AlreadyOwned(
            f"{paths.root} is no copy: its coordinator is running as process {owner.pid}",
            remedy="stop it first with `batchpilot coordinator stop`",
        )
    if owner.beats_elsewhere(time.time()):
        raise AlreadyOwned(
            f"the coordinator on {owner.host} has just given a sign of life in {paths.root}",
            remedy=f"stop it there; if this is a copy, try again in {SILENT_AFTER:.0f} s",
        )
