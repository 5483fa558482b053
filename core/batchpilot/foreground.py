"""What a service manager or a container starts: a coordinator or an agent in the foreground.

Both become the program itself by `exec`: signals reach it, and its exit code is the container's.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from batchpilot_agent.launch import agent_command, clean_environment
from batchpilot_broker.paths import RegistryPaths

from .errors import RegistryMissing
from .registry.whole import make_registry


def see_to_registry(directory: str | os.PathLike[str]) -> bool:
    """Make a registry where there is none, as the configuration file says.

    Returns:
        Whether it was made.
    """
    if RegistryPaths(Path(directory)).owner.exists():
        return False
    make_registry(directory).close()
    return True


def run_agent(
    paths: RegistryPaths, pool: str, options: Mapping[str, float | str | None]
) -> NoReturn:
    """Become an agent with a name of its own.

    Args:
        paths: The registry's files.
        pool: Pool that it belongs to.
        options: Those of `python -m batchpilot_agent`; None for the default.

    Raises:
        RegistryMissing: There is no registry.
    """
    if not paths.owner.exists():
        raise RegistryMissing(
            f"no registry in {paths.root}", remedy="start its coordinator first, with --create"
        )
    agent = f"{pool}-{secrets.token_hex(4)}"
    said = {name: value for name, value in options.items() if value is not None}
    command = agent_command(paths, sys.executable, agent=agent, pool=pool, **said)
    os.chdir("/")
    os.execve(command[0], command, clean_environment(os.environ))  # noqa: S606 - our own program
