"""Where templates are looked for, as batchtools does.

For the name `slurm`, the first of these that is there:

    $BATCHPILOT_SEARCH_PATH/batchpilot.slurm.jinja
    ./batchpilot.slurm.jinja
    ~/.config/batchpilot/slurm.jinja      ($XDG_CONFIG_HOME)
    /etc/xdg/batchpilot/slurm.jinja       ($XDG_CONFIG_DIRS)
    the one that is shipped

What has a slash or ends with `.jinja` is a path. A template is a program: one that was found in `.`
must belong to this user or root, and be writable by nobody else: others may have put it there.
"""

from __future__ import annotations

import os
import stat
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
        TemplateBroken: There is none, or it is not to be trusted.
    """
    named = "/" in name or name.endswith(".jinja")
    try:
        here = Path.cwd() if directory is None else directory
        paths = [here / Path(name).expanduser()] if named else _candidates(name, environment, here)
        candidates = list(paths)
        found = next((path for path in candidates if path.is_file()), None)
        mine = found is None or named or found.parent != here or _is_ours(found.stat())
    except (OSError, RuntimeError) as error:
        raise TemplateBroken(
            f"the template {name!r} cannot be looked for: {error}", remedy="name its whole path"
        ) from error
    if found is None:
        places = ", ".join(map(str, candidates))
        remedy = f"put it in one of {places}, or name its path"
        raise TemplateBroken(f"there is no template {name!r}", remedy=remedy)
    if not mine:
        remedy = f"remove it, make it yours and `chmod go-w {found}`, or name its path"
        raise TemplateBroken(f"{found} is not used: others may have written it", remedy=remedy)
    return found


def _is_ours(status: os.stat_result) -> bool:
    """Tell whether only this user and root write a file; a group of one's own has their number."""
    others = stat.S_IWOTH | (0 if status.st_gid == status.st_uid else stat.S_IWGRP)
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & others


def _candidates(name: str, environment: Mapping[str, str], here: Path) -> Iterator[Path]:
    for place in environment.get("BATCHPILOT_SEARCH_PATH", "").split(os.pathsep):
        if place:
            yield Path(place) / f"batchpilot.{name}.jinja"
    yield here / f"batchpilot.{name}.jinja"
    home = environment.get("XDG_CONFIG_HOME") or "~/.config"
    home = os.path.expanduser(home)  # noqa: PTH111 - who has no home is no error to it
    yield Path(home) / "batchpilot" / f"{name}.jinja"
    for place in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(place) / "batchpilot" / f"{name}.jinja"
    yield SHIPPED / f"{name}.jinja"
