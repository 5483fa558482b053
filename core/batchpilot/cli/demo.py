"""`demo`: the whole machine at work, on real data."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from batchpilot.errors import ExtraMissing

from .lazy import Command


EXTRA = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}


@click.command(cls=Command)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("demo-registry"),
    show_default=True,
    help="Where the registry is made, or gone on with.",
)
@click.option("--retry", is_flag=True, help="Submit failed jobs again, too.")
def demo(directory: Path, retry: bool) -> int:
    """Compare learners on real data: the whole machine at work.

    Run it again: it goes on from the registry, and computes nothing twice.
    """
    try:
        study = import_module("batchpilot.demo")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise ExtraMissing(
            f"the demo needs {' and '.join(EXTRA.values())}: {error}",
            remedy="pip install 'batchpilot[demo]'",
        ) from error
    code: int = study.run(directory, retry=retry)
    return code
