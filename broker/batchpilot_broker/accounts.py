"""The two accounts of a server of ours: the coordinator may do all, agents only what they need.

| account | who uses it | where its password stands |
|---|---|---|
| coordinator | supervisor, coordinator | beside the data, on local disk of the owner's host |
| agents | agents and sessions anywhere | `broker.json` of the registry |

The agents' password is made from the coordinator's by a one-way function: there is one secret to
keep, and who has only `broker.json` does not have it. A named broker has the one account it was
named with. The server's own configuration holds hashes of both, and its default user is off.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b, sha256

from .access import Access, read_access, read_access_file
from .host import runtime_path
from .paths import RegistryPaths


COORDINATOR = "coordinator"
AGENTS = "agents"
RECORD = "broker.json"
"""Name of the coordinator's record, in the server's directory."""

_PASSWORD_SIZE = 32

_COMMANDS = (
    "ping", "time", "select", "info", "client|id", "client|unblock", "eval", "evalsha", "multi",
    "exec", "discard", "get", "mget", "incr", "incrby", "exists", "type", "expire", "del", "hget",
    "hgetall", "hexists", "hset", "hsetnx", "hdel", "hincrby", "hincrbyfloat", "lindex", "llen",
    "lpop", "lpush", "rpush", "ltrim", "blpop", "sadd", "srem", "zadd", "zrem",
    "zremrangebyscore", "xadd",
)  # fmt: skip
"""What agents and sessions send, and what their scripts do."""

_WRITTEN = (
    *(f"bp:*:{name}" for name in ("events", "leases", "again", "agents", "beats", "states")),
    *(f"bp:*:{name}" for name in ("foreign", "gone", "forged", "bell:*", "control:*", "answer:*")),
    "rq:*",
)
_READ = ("bp:*:generation", "bp:*:coordinator", "bp:*:classes")
"""All keys but the term: nobody but a coordinator can depose one."""


def new_password() -> str:
    """Return a password for a coordinator's account."""
    return secrets.token_hex(_PASSWORD_SIZE)


def for_agents(access: Access) -> Access:
    """Return what agents and sessions are told: their own account on a server of ours."""
    if access.external or access.username != COORDINATOR:
        return access
    derived = blake2b(b"agents", key=access.password.encode(), digest_size=_PASSWORD_SIZE)
    return replace(access, username=AGENTS, password=derived.hexdigest())


def read_kept(instance: str) -> Access | None:
    """Return the coordinator's record beside the server's data, None where there is none.

    Raises:
        StorageError: The record cannot be read.
    """
    return read_access_file(runtime_path(instance) / RECORD)


def read_office(paths: RegistryPaths, instance: str) -> Access | None:
    """Return the registry's broker with the coordinator's account on it.

    Raises:
        StorageError: A record cannot be read.
    """
    access = read_access(paths)
    if access is None or access.username != AGENTS or access.external:
        return access
    kept = read_kept(instance)
    return access if kept is None else as_coordinator(access, kept)


def as_coordinator(access: Access, kept: Access) -> Access:
    """Return an access with the account that stands in the record beside the server's data."""
    return replace(access, username=kept.username, password=kept.password)


def users(access: Access, version: tuple[int, int]) -> str:
    """Return the lines of a server's configuration that make the accounts.

    Args:
        access: The server, with the coordinator's account.
        version: The server's version; from 7.0 on it tells reading a key from writing it.
    """
    return "".join(f"{line}\n" for line in _users(access, version))


def _users(access: Access, version: tuple[int, int]) -> Iterator[str]:
    agents = for_agents(access)
    read = "%R~" if version >= (7, 0) else "~"
    keys = [*(f"~{key}" for key in _WRITTEN), *(f"{read}{key}" for key in _READ)]
    commands = [f"+{command}" for command in _COMMANDS]
    if version >= (7, 2):  # redis-py tells its name; older servers do not know that command
        commands.append("+client|setinfo")
    # Off: nobody is it. But it reads the log back, and Redis 7.0 asks for its rights at each EXEC.
    yield "user default off resetpass ~* &* +@all"
    yield f"user {COORDINATOR} on {_hashed(access.password)} ~* &* +@all"
    yield " ".join((f"user {AGENTS} on {_hashed(agents.password)}", *keys, *commands))


def _hashed(password: str) -> str:
    return f"#{sha256(password.encode()).hexdigest()}"
