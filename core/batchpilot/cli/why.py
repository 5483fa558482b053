"""`why`: what keeps a job where it is."""

from __future__ import annotations

import time

import click

from batchpilot.explaining import explain

from .lazy import Command
from .output import print_document
from .words import Target, json_option, target_argument


@click.command(cls=Command)
@target_argument(ids="ID")
@json_option
def why(target: Target, as_json: bool) -> None:
    """Tell why a job is where it is: not running, lost, expired, ...

    It reads the registry alone and needs neither broker nor coordinator.
    """
    with target.open() as registry:
        told = explain(registry, target.one(registry), time.time())
    if as_json:
        reasons = [
            {"cause": str(reason.cause), "text": reason.text, "remedy": reason.remedy or None}
            for reason in told.reasons
        ]
        print_document(job_id=told.job, state=told.state, reasons=reasons)
        return
    click.echo(f"Job {told.job}: {told.state}")
    for reason in told.reasons:
        click.echo(f"  {reason.text}")
        if reason.remedy:
            click.echo(f"    -> {reason.remedy}")
