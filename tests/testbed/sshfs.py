"""One directory as several hosts see it by sshfs: old attributes for 20 s, and locks of their own.

The SFTP server is spoken to through a socket pair; no network and no SSH are needed for that.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.conftest import wait_until


SSHFS = Path("/usr/bin/sshfs")
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
CACHE_SECONDS = 20
_CACHES = ",".join(
    f"dcache_{kind}timeout={CACHE_SECONDS}" for kind in ("", "stat_", "dir_", "link_")
)


def missing() -> str:
    """Return why nothing can be mounted here, "" where it can."""
    if os.getuid() != 0:
        return "NOT TESTED: only root can mount for other hosts"
    if not (SSHFS.exists() and SFTP_SERVER.exists()):
        return "NOT TESTED: there is no sshfs or no sftp-server (scripts/test-deps)"
    return "" if Path("/dev/fuse").exists() else "NOT TESTED: there is no /dev/fuse"


class Shared:
    """Mount a directory as often as hosts are to see it.

    Args:
        directory: What is shared.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._ends = ExitStack()

    def mount(self, place: Path) -> Path:
        """Mount it once more, with caches of its own, and return the place."""
        place.mkdir()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            here, there = ours.fileno(), theirs.fileno()
            server = subprocess.Popen(
                [str(SFTP_SERVER)],
                stdin=here,
                stdout=here,
                start_new_session=True,
            )
            client = subprocess.Popen(
                [str(SSHFS), "-f", "-o", f"passive,{_CACHES}", f":{self._directory}", str(place)],
                stdin=there,
                stdout=there,
                start_new_session=True,
            )
        self._ends.callback(_end, place, client, server)
        wait_until(lambda: client.poll() is not None or os.path.ismount(place))
        assert client.poll() is None, "sshfs has ended"
        return place

    def close(self) -> None:
        """Unmount it everywhere."""
        self._ends.close()


def _end(place: Path, *processes: subprocess.Popen[bytes]) -> None:
    subprocess.run(["/bin/umount", "--lazy", str(place)], check=False)
    for process in processes:
        process.terminate()
        process.wait(60)
