"""`coordinator` and `broker`: the processes that keep a registry going.

They come and go by themselves; a supervisor keeps both, so starting or stopping one starts or stops
the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from batchpilot import control, foreground, monitoring
from batchpilot.seat import read_seat

from .lazy import Family
from .output import print_document
from .screen import duration
from .words import json_option, paths_of, registry_argument


OFFICE_FIELDS = ("running", "pid", "host", "term", "heartbeat", "metrics", "seat")
BROKER_FIELDS = ("running", "pid", "host", "url", "version", "generation")


@click.group(cls=Family)
def coordinator() -> None:
    """Run, look at or stop the coordinator."""


@coordinator.command()
@registry_argument
@click.option("--create", is_flag=True, help="Make the registry first, where there is none.")
@click.option("--stay", is_flag=True, help="Stay when there is nothing to do, as a service does.")
@click.option("--metrics-listen", metavar="HOST:PORT", help="Where to show metrics.")
@click.option("--metrics-token-file", metavar="FILE", help="Token that a scrape must carry.")
@click.option("--metrics-certificate", metavar="FILE", help="PEM certificate, for HTTPS.")
@click.option("--metrics-key", metavar="FILE", help="Its key.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How logs are written.")
def run(directory: str, create: bool, stay: bool, **watched: str | None) -> None:
    """Run broker and coordinator in the foreground, until Ctrl-C or SIGTERM."""
    given = monitoring.checked_options(watched)
    if create:
        foreground.see_to_registry(directory)
    words = [*(["--linger", "inf"] if stay else []), *monitoring.words_of(given)]
    control.run_foreground(paths_of(directory), words)


@coordinator.command("submit")
@registry_argument
@click.option("--pool", required=True, help="Pool of a batch system, one of the registry's.")
@click.option(
    "--walltime", type=click.FloatRange(min=60), help="Seconds; those of the pool, or a day."
)
def submit(directory: str, pool: str, walltime: float | None) -> None:
    """Run broker and coordinator in an allocation of a batch system, one after the other.

    For sites that forbid daemons where you log in: from now on nothing is started on this host. An
    allocation submits its successor while jobs are unfinished; where it has ended, the next
    submission or wait asks for another. Prints what the batch system calls it.
    """
    from batchpilot import starting  # noqa: PLC0415 - loads pools, which the others need not

    click.echo(starting.seat_coordinator(paths_of(directory), pool, walltime).job)


@coordinator.command("status")
@registry_argument
@json_option
def coordinator_status(directory: str, as_json: bool) -> None:
    """Tell whether the coordinator runs, and where."""
    state = control.coordinator_status(paths_of(directory))
    shown = {**state, "heartbeat": _ago(state["heartbeat"])}
    _show("coordinator", state if as_json else shown, OFFICE_FIELDS, as_json=as_json)


@coordinator.command("stop")
@registry_argument
def coordinator_stop(directory: str) -> None:
    """Stop coordinator, broker and local agents; unfinished jobs wait in the registry.

    A coordinator that was submitted to a batch system is cancelled there, and is started on this
    host again when it is needed.
    """
    _stop(directory)


@click.group(cls=Family)
def broker() -> None:
    """Start, look at or stop the broker."""


@broker.command("start")
@registry_argument
def broker_start(directory: str) -> None:
    """Start broker and coordinator, if they do not run."""
    paths = paths_of(directory)
    control.start(paths)
    _show("broker", control.broker_status(paths), BROKER_FIELDS, as_json=False)


@broker.command("status")
@registry_argument
@json_option
def broker_status(directory: str, as_json: bool) -> None:
    """Tell whether the broker runs, and where; passwords are not shown."""
    _show("broker", control.broker_status(paths_of(directory)), BROKER_FIELDS, as_json=as_json)


@broker.command("stop")
@registry_argument
def broker_stop(directory: str) -> None:
    """Stop broker, coordinator and local agents; unfinished jobs wait in the registry."""
    _stop(directory)


def _stop(directory: str) -> None:
    paths = paths_of(directory)
    seat = read_seat(paths)
    control.stop(paths)
    click.echo("Stopped; unfinished jobs wait in the registry.", err=True)
    there = len(control.agents(paths)) + len(control.awaited_agents(paths))
    if there:
        click.echo(
            f"{there} agents elsewhere, or in queues, wait up to an hour for another coordinator; "
            "to end them, too: batchpilot agents stop, before the coordinator is stopped.",
            err=True,
        )
    if seat is not None:
        click.echo(
            f"{seat.job} of pool {seat.pool} is cancelled; from now on the coordinator is started "
            "on this host.",
            err=True,
        )


def _show(name: str, state: Mapping[str, Any], fields: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print_document(**{field: state[field] for field in fields})
    elif not state["running"]:
        click.echo(f"{name}: {state.get('seat') or 'not running'}")
    else:
        details = ", ".join(f"{field} {state[field]}" for field in fields[1:] if state[field])
        click.echo(f"{name}: running, {details}")


def _ago(heartbeat: float) -> str:
    return f"{duration(max(0.0, time.time() - heartbeat))} ago" if heartbeat else ""
