"""Start an agent on this machine, as the local pool does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchpilot_broker.paths import RegistryPaths


_SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN", "BROKER_URL")
_SECRETS = frozenset(("REDISCLI_AUTH", "VALKEYCLI_AUTH"))


def launch_local(  # noqa: PLR0913 - an agent's arguments
    paths: RegistryPaths,
    *,
    agent_id: str,
    pool: str,
    slots: int,
    cores: int = 0,
    memory: float = 0.0,
    gpus: int = 0,
    idle_timeout: float = 300.0,
    orphan_timeout: float = 3600.0,
    grace: float = 10.0,
    start: str = "fork",
    log_format: str = "text",
    python: str = sys.executable,
) -> subprocess.Popen[bytes]:
    """Start an agent in a session of its own and return its keeper.

    Args:
        paths: The registry.
        agent_id: Its name, unique in the registry for ever.
        pool: Pool that starts it.
        slots: Most jobs at once.
        cores: Cores its jobs may use, 0 for one a slot.
        memory: MB its jobs may use, 0 for unlimited.
        gpus: Devices its jobs may use.
        idle_timeout: Seconds without work before it leaves.
        orphan_timeout: Seconds without a coordinator before it leaves.
        grace: Seconds for running jobs when it leaves.
        start: "fork" or "spawn", see `Settings`.
        log_format: How it writes its log, "text" or "json".
        python: The interpreter.
    """
    command = agent_command(
        paths,
        python,
        agent=agent_id,
        pool=pool,
        slots=slots,
        cores=cores or slots,
        memory=memory,
        gpus=gpus,
        idle_timeout=idle_timeout,
        orphan_timeout=orphan_timeout,
        grace=grace,
        start=start,
        log_format=log_format,
    )
    paths.logs.mkdir(mode=0o700, exist_ok=True)
    return _start(command, paths.agent_log(agent_id))


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, what it says going to the end of a file."""
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd="/",
            start_new_session=True,
            env=clean_environment(os.environ),
        )
    finally:
        os.close(said)


def agent_command(paths: RegistryPaths, python: str, **options: object) -> list[str]:
    """Return the command line of an agent; the options are those of `python -m batchpilot_agent`.

    Args:
        paths: The registry.
        python: The interpreter.
        options: What the agent is started with, `_` for `-`.
    """
    command = [python, "-P", "-m", "batchpilot_agent", "--registry", str(paths.root.absolute())]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def probe_command(paths: RegistryPaths, python: str, allocation: str) -> list[str]:
    """Return the command line of what looks around where an agent would run.

    Args:
        paths: The registry.
        python: The interpreter.
        allocation: Its allocation.
    """
    program = [python, "-P", "-m", "batchpilot_agent.probe"]
    return [*program, "--registry", str(paths.root.absolute()), "--allocation", allocation]


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without our secrets in which this installation is found."""
    kept = {name: value for name, value in environment.items() if not _is_secret(name)}
    roots = [_root("batchpilot_agent"), _root("batchpilot_broker")]
    missing = [root for root in dict.fromkeys(roots) if "site-packages" not in root]
    if missing:
        old = [part for part in kept.get("PYTHONPATH", "").split(os.pathsep) if part]
        kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*missing, *old]))
    return kept


def _root(package: str) -> str:
    return str(Path(sys.modules[package].__file__ or "").parent.parent)


def _is_secret(name: str) -> bool:
    ours = name.startswith("BATCHPILOT_") and any(word in name for word in _SECRET_WORDS)
    return ours or name in _SECRETS
