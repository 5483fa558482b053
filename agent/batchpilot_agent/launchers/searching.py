"""Where templates are looked for, as batchtools does.

For the name `slurm`, the first of these that is there:

    $BATCHPILOT_SEARCH_PATH/batchpilot.slurm.jinja
    ./batchpilot.slurm.jinja
    ~/.config/batchpilot/slurm.jinja      ($XDG_CONFIG_HOME)
    /etc/xdg/batchpilot/slurm.jinja       ($XDG_CONFIG_DIRS)
    the one that is shipped

What has a slash or ends with `.jinja` is a path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchpilot_agent.errors import TemplateBroken


SHIPPED = Path(__file__).parent / "templates"


def find_template(name: str, environment: Mapping[str, str], directory: Path | None = None) -> Path:
    """Return the template of a name.

    Args:
        name: A name, or a path.
        environment: Says where to look.
        directory: Stands for `.`, by default the current directory.

    Raises:
        TemplateBroken: There is none.
    """
    here = Path.cwd() if directory is None else directory
    if "/" in name or name.endswith(".jinja"):
        candidates = [here / Path(name).expanduser()]
    else:
        candidates = list(_candidates(name, environment, here))
    for path in candidates:
        if path.is_file():
            return path
    places = ", ".join(map(str, candidates))
    raise TemplateBroken(
        f"there is no template {name!r}", remedy=f"put it in one of {places}, or name its path"
    )


def _candidates(name: str, environment: Mapping[str, str], here: Path) -> Iterator[Path]:
    for place in environment.get("BATCHPILOT_SEARCH_PATH", "").split(os.pathsep):
        if place:
            yield Path(place) / f"batchpilot.{name}.jinja"
    yield here / f"batchpilot.{name}.jinja"
    home = environment.get("XDG_CONFIG_HOME") or "~/.config"
    yield Path(home).expanduser() / "batchpilot" / f"{name}.jinja"
    for place in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(place) / "batchpilot" / f"{name}.jinja"
    yield SHIPPED / f"{name}.jinja"
