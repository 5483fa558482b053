"""Hosts with a real sshd each, on this machine, and a user who may log in there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam

import pytest

from batchpilot_broker.paths import RegistryPaths


BED = Path(__file__).parents[3] / "testbed" / "ssh-testbed"
USER = "sshtester"
CONFIG = """
Include {bed}/ssh_config
Host behind
  HostName 127.0.0.3
  ProxyJump host1
"""
"""What a user may have in `~/.ssh/config`: there host2 is called `behind`, too."""


@dataclass(frozen=True)
class Hosts:
    """Two hosts, a registry's directory that their user may write, and the client to reach them."""

    directory: Path
    paths: RegistryPaths

    @property
    def ssh(self) -> tuple[str, ...]:
        """Return the client."""
        return ("ssh", "-F", str(self.directory / "config"))

    def bed(self, verb: str, *words: str) -> None:
        """Do something to the hosts."""
        subprocess.run([BED, verb, *words, "-d", self.directory], check=True, capture_output=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if os.geteuid() != 0 or shutil.which("sshd") is None:
        pytest.skip("hosts with sshd need root and openssh-server")
    top = Path(tempfile.mkdtemp(prefix="hosts-"))
    top.chmod(0o755)
    found = Hosts(top / "bed", RegistryPaths(top / "a registry"))
    options = ("-n", "2", "-u", USER, "--port", str(20000 + os.getpid() % 20000))
    try:
        found.bed("up", *options)
        (found.directory / "config").write_text(CONFIG.format(bed=found.directory))
        for path in (found.paths.root, found.paths.allocations):
            path.mkdir(mode=0o700)
            os.chown(path, getpwnam(USER).pw_uid, -1)
        yield found
    finally:
        found.bed("down", "--purge")
        shutil.rmtree(top)
