"""`batchpilot status`: one screen, once or again and again."""

from __future__ import annotations

import sys
import time

import click
from rich.live import Live

from batchpilot.registry.whole import Registry

from .lazy import Command
from .output import console, is_fancy, print_document
from .screen import render
from .snapshot import take_snapshot
from .words import json_option, open_registry, registry_argument


LIVE_SECONDS = 1.0
PLAIN_SECONDS = 10.0


@click.command(cls=Command)
@registry_argument
@click.option("-w", "--watch", is_flag=True, help="Go on showing it until Ctrl-C.")
@json_option
def status(directory: str, watch: bool, as_json: bool) -> None:
    """Show how far the jobs are, who works, and what goes wrong.

    It reads the registry and needs neither broker nor coordinator.
    """
    if watch and as_json:
        raise click.UsageError("--json writes one document; it cannot be used with --watch.")
    with open_registry(directory) as registry:
        if as_json:
            print_document(**take_snapshot(registry).as_fields())
        elif not watch:
            console().print(render(take_snapshot(registry), fancy=is_fancy(sys.stdout)))
        elif is_fancy(sys.stdout):
            _watch_live(registry)
        else:
            _watch_plain(registry)


def _watch_live(registry: Registry) -> None:
    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            live.update(render(take_snapshot(registry), fancy=True), refresh=True)
            time.sleep(LIVE_SECONDS)


def _watch_plain(registry: Registry) -> None:
    while True:
        click.echo(f"{render(take_snapshot(registry)).plain}\n")
        time.sleep(PLAIN_SECONDS)
