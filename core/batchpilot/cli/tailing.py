"""Show the end of a file of log lines, and what comes after."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import click


LOOK_EVERY = 0.2


def show_tail(path: Path, lines: int, alive: Callable[[], bool] | None = None) -> None:
    """Print the last lines of a file; then, while its writer lives, what it adds.

    Args:
        path: The file.
        lines: How many lines.
        alive: Tells whether the writer lives; None not to wait for more.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        click.echo("".join(deque(file, maxlen=lines)), nl=False)
        while alive is not None:
            last_look = not alive()
            click.echo(file.read(), nl=False)
            if last_look:
                return
            time.sleep(LOOK_EVERY)
