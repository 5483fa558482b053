"""What tests of deployments share: our command line as a parser, a container's broker."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml
from tests.conftest import wait_until

from batchpilot.cli import program
from batchpilot_broker.access import Access
from batchpilot_broker.binaries import find_server
from batchpilot_broker.host import boot_id, host_name


HOUSE = Path(__file__).parents[2]
ROOTS = ("core", "agent", "broker")


def parsed(words: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """Return what our command line understands of words: the command and its parameters.

    Raises:
        click.UsageError: It does not understand them.
    """
    context = program.make_context("batchpilot", list(words))
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        if command is None or name is None:
            raise click.UsageError(f"no command in {words}")
        context = command.make_context(name, rest, parent=context)
    return context.command_path.removeprefix("batchpilot "), context.params


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def known_variables() -> set[str]:
    """Return the names of the environment variables that batchpilot reads."""
    pattern = re.compile(r"\bBATCHPILOT_[A-Z_]+\b")
    return {
        name
        for root in ROOTS
        for path in (HOUSE / root).rglob("*.py")
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    }


@contextmanager
def broker_started(
    script: str, files: Mapping[str, str], place: Path, password: str
) -> Iterator[tuple[subprocess.Popen[bytes], Access]]:
    """Run a container's shell script for a broker here; only the places are others.

    Args:
        script: What the container's shell runs.
        files: Contents of the files that it reads, by their path in the container.
        place: A directory.
        password: The password that is expected to do.
    """
    programs = place / "bin"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(find_server().path)
    for number, (path, content) in enumerate(files.items()):
        assert path in script
        script = script.replace(path, str(place / str(number)))
        (place / str(number)).write_text(moved(content, place))
    process = subprocess.Popen(
        ["/bin/sh", "-euc", script],
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    )
    access = Access(
        urls=(f"unix://{place / 'socket'}",),
        password=password,
        generation=0,
        host=host_name(),
        boot=boot_id(),
    )
    try:
        wait_until(lambda: _listens(place / "socket"))
        yield process, access
    finally:
        process.terminate()
        process.wait(20)


def _listens(path: Path) -> bool:
    """Tell whether a server listens at a socket; it may be there before that."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def moved(conf: str, place: Path) -> str:
    """Return the configuration of a broker with its port and data elsewhere."""
    return conf.replace("port 6379", f"port 0\nunixsocket {place / 'socket'}").replace(
        "dir /data", f"dir {place}"
    )
