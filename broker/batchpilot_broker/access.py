"""Where the registry's broker is, and how to be let in: `broker.json` and `secret`.

The record is 0600 and is replaced whole; its password appears in no repr, no URL and no message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import BrokerUnavailable, StorageError
from .files import read_json, write_json
from .paths import RegistryPaths


SECRET_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Hold what a process needs to reach a broker.

    Attributes:
        urls: Candidates, best first: a socket serves this host, an address the others.
        username: ACL user, "" for the default one.
        password: What the broker asks for.
        generation: Number of the broker's data.
        host: Machine of whoever wrote the record.
        boot: Boot id of that machine.
        pid: Server process, 0 where batchpilot did not start it.
        pid_start: Its start time in clock ticks, against reused pids.
        log: Its log file, "" where unknown.
        external: Whether the user named it; such a broker is never started or ended.
        ca: File of the certificates that a `rediss://` broker is trusted by, "" for the system's.
    """

    urls: tuple[str, ...]
    username: str = ""
    password: str = field(repr=False)
    generation: int
    host: str
    boot: str
    pid: int = 0
    pid_start: int = 0
    log: str = ""
    external: bool = False
    ca: str = ""


def access_from(record: Mapping[str, Any]) -> Access:
    """Return the access that a record describes; fields of a newer version are dropped.

    Raises:
        KeyError: It names no address.
        TypeError: A field is missing, or is not what it should be; no message tells its value.
    """
    known = {name: record[name] for name in Access.__dataclass_fields__ if name in record}
    urls = known["urls"]
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
        raise TypeError("urls")
    for name, value in known.items():
        if name != "urls" and type(value) is not _TYPES[name]:
            raise TypeError(name)
    return Access(**known | {"urls": tuple(urls)})


_TYPES = {
    **dict.fromkeys(("username", "password", "host", "boot", "log", "ca"), str),
    **dict.fromkeys(("generation", "pid", "pid_start"), int),
    "external": bool,
}


def read_access(paths: RegistryPaths) -> Access | None:
    """Return the registry's record of its broker, or None where there is none.

    Raises:
        StorageError: The record cannot be read.
    """
    return read_access_file(paths.broker)


def read_access_file(path: Path) -> Access | None:
    """Return the record of a broker in a file, or None where there is none.

    Raises:
        StorageError: The record cannot be read.
    """
    record = read_json(path)
    if record is None:
        return None
    try:
        return access_from(record)
    except (KeyError, TypeError) as error:
        raise StorageError(
            f"{path} is no record of a broker: {error}",
            remedy="delete it; `batchpilot broker start` writes a new one",
        ) from error


def is_replaced(paths: RegistryPaths, access: Access) -> bool:
    """Tell whether the registry names another broker now than the one of an access."""
    try:
        named = read_access(paths)
    except StorageError:  # what cannot be read names no other one
        return False
    if named is None:
        return False
    elsewhere = named.host != access.host and not (named.external and access.external)
    return named.urls != access.urls or elsewhere


def write_access(paths: RegistryPaths, access: Access) -> None:
    """Replace the registry's record of its broker."""
    write_json(paths.broker, asdict(access))


def read_secret(paths: RegistryPaths) -> bytes:
    """Return the key of every seal of this registry.

    Raises:
        StorageError: The file is missing or not what `make_registry` writes.
    """
    try:
        secret = paths.secret.read_bytes()
    except OSError as error:
        raise StorageError(
            f"cannot read {paths.secret}: {error.strerror}",
            remedy="restore it from a backup, or run `batchpilot adopt` for a new one",
        ) from error
    if len(secret) != SECRET_SIZE:
        raise StorageError(
            f"{paths.secret} holds {len(secret)} bytes, not {SECRET_SIZE}",
            remedy="restore it from a backup, or run `batchpilot adopt` for a new one",
        )
    return secret


def no_broker(paths: RegistryPaths) -> BrokerUnavailable:
    """Return the error that a registry has no broker."""
    return BrokerUnavailable(
        f"{paths.root} has no broker", remedy="start it with `batchpilot broker start`"
    )


def key_mark(secret: bytes) -> str:
    """Return what tells whether a key is the same, and nothing else about it."""
    return blake2b(secret, digest_size=8, person=b"key mark").hexdigest()


def public_url(access: Access) -> str:
    """Return the best candidate as it may be shown to anybody.

    Example:
        >>> public_url(Access(urls=("redis://h:1",), password="x", generation=1, host="", boot=""))
        'redis://h:1'
    """
    return without_secrets(access.urls[0]) if access.urls else "nowhere"


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
