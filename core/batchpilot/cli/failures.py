"""What a user sees when a command fails: a message, its remedy, an exit code.

A traceback is shown only with `--debug`.

0   ok
1   some jobs failed or expired (`wait`, `demo`), or another error
2   the command was not understood
3   no such registry, job or log
4   timed out
69  the broker is unavailable
130 interrupted
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from batchpilot.notices import BatchpilotWarning
from batchpilot_broker.errors import BatchpilotError


OK, FAILED, TIMED_OUT, INTERRUPTED = 0, 1, 4, 130


@dataclass(slots=True)
class Run:
    """Hold what a run of the command line has come to.

    Attributes:
        debug: Whether the traceback of an error is shown.
        code: The exit code.
    """

    debug: bool = False
    code: int = OK


@contextmanager
def told(run: Run) -> Iterator[None]:
    """Turn warnings and errors into lines on stderr, and an error into an exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", BatchpilotWarning)
        try:
            yield
        except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001 - a user sees a line, not our traceback
            error = _behind(raised)
            if run.debug and not isinstance(error, click.ClickException):
                traceback.print_exception(error)
            run.code = _tell(error, debug=run.debug)


def _behind(error: BaseException) -> BaseException:
    """Return what click calls an abort: an interruption, or the end of some input."""
    return (error.__cause__ or KeyboardInterrupt()) if isinstance(error, click.Abort) else error


def _tell(error: BaseException, *, debug: bool) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BatchpilotError):
        click.echo(f"Error: {error.message}", err=True)
        if error.remedy:
            click.echo(f"Remedy: {error.remedy}", err=True)
        return error.exit_code
    hint = "" if debug else "; run the command again with --debug to see where"
    said = " ".join(f"{type(error).__name__}: {error}".split())
    click.echo(f"Error: unexpected {said}{hint}", err=True)
    return FAILED


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"Warning: {message}", err=True)
