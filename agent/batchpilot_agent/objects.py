"""Content-addressed objects: functions, data and code of a study, each stored once.

An object is a file of `objects/` named after the BLAKE2b-256 of its bytes. It is written whole
and never again, and nobody gets its bytes before they were compared with its name: what is
unpickled is what was stored.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from pathlib import Path

from batchpilot_broker.files import write_aside

from .errors import ObjectForged, ObjectMissing


HASH_SIZE = 32


def content_hash(data: bytes | memoryview) -> str:
    """Return the name of an object with these bytes."""
    return blake2b(data, digest_size=HASH_SIZE).hexdigest()


class ObjectStore:
    """Keep the objects of one registry.

    Args:
        directory: The registry's `objects/`; made by the registry.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, tuple[tuple[int, int, int], str]] = {}

    def put(self, data: bytes | memoryview) -> str:
        """Store bytes and return their hash; an object that is there is not written again.

        Raises:
            StorageError: The directory cannot be written.
        """
        name = content_hash(data)
        path = self._directory / name
        if not path.exists():
            write_aside(path, data)
        return name

    def put_file(self, path: Path) -> str:
        """Store a file's bytes and return their hash; an unchanged file is not read again."""
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._files.get(str(path))
        if known is None or known[0] != stamp or not self.has(known[1]):
            known = self._files[str(path)] = (stamp, self.put(path.read_bytes()))
        return known[1]

    def get(self, name: str) -> bytes:
        """Return the bytes of an object.

        Raises:
            ObjectMissing: It is not there or cannot be read.
            ObjectForged: Its bytes do not match its name.
        """
        path = self._directory / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _missing(path, error) from error
        _check(path, data)
        return data

    def view(self, name: str) -> memoryview:
        """Return the bytes of an object as memory that all processes of this machine share.

        The file is mapped, not read: who changes nothing of it pays for it once, and nobody can.

        Raises:
            ObjectMissing: It is not there or cannot be read.
            ObjectForged: Its bytes do not match its name.
        """
        path = self._directory / name
        try:
            with path.open("rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        except (OSError, ValueError) as error:  # ValueError: it is empty, which no buffer is
            raise _missing(path, error) from error
        _check(path, data)
        return data

    def has(self, name: str) -> bool:
        """Tell whether an object is there."""
        return (self._directory / name).exists()


def _missing(path: Path, error: Exception) -> ObjectMissing:
    why = getattr(error, "strerror", None) or error
    return ObjectMissing(
        f"object {path.name[:12]} of the registry cannot be read: {why}",
        remedy=f"restore {path}, or define and submit the jobs again",
    )


def _check(path: Path, data: bytes | memoryview) -> None:
    if content_hash(data) != path.name:
        raise ObjectForged(
            f"object {path.name[:12]} of the registry is damaged: its bytes do not match its name",
            remedy=f"restore {path}, or delete it and define the jobs again",
        )
