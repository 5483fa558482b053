"""One way to connect to a broker, and one way to say what went wrong with it.

Timeouts are explicit and nothing is sent twice: redis-py would repeat a command ten times on its
own, and a repeated claim or event is one too many. Importing this module does not import redis,
which takes longer than all else an agent needs; who connects pays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .access import Access, public_url, without_secrets
from .errors import (
    BrokerError,
    BrokerFull,
    BrokerRefused,
    BrokerTooOld,
    BrokerUnavailable,
    TermSuperseded,
)


if TYPE_CHECKING:
    from redis import Redis

FLOORS = {"Redis": (6, 2), "Valkey": (7, 2)}

_Verdict = tuple[type[BrokerError], str, str]

_REFUSED: _Verdict = (
    BrokerRefused,
    "refused the password",
    "see broker.json, or the file that BATCHPILOT_BROKER_PASSWORD_FILE names",
)
_UNTRUSTED: _Verdict = (
    BrokerRefused,
    "shows a certificate that is not trusted ({})",
    "name the file of its CA in BATCHPILOT_BROKER_CA, and its host as the certificate has it",
)
_SILENT: _Verdict = (
    BrokerUnavailable,
    "does not answer ({})",
    "see `batchpilot broker status`, or start it with `batchpilot broker start`",
)
_ANSWERS: dict[str, _Verdict] = {
    "TERM": (
        TermSuperseded,
        "has another coordinator in office ({})",
        "this one leaves; the registry is served by the newer one",
    ),
    "FRESH": (BrokerUnavailable, "has started anew, without its data", "open it again"),
    "OOM": (BrokerFull, "has reached its memory limit", "raise its maxmemory, or feed less ahead"),
    "MISCONF": (BrokerFull, "cannot write its data ({})", "make space on the disk it writes to"),
    "READONLY": (BrokerUnavailable, "is a read-only replica", "name its primary instead"),
    "NOPERM": (
        BrokerRefused,
        "refused a command ({})",
        "its ACL must allow scripts, lists, hashes and streams on bp:* and rq:*",
    ),
}
_STRANGE: _Verdict = (BrokerError, "answered: {}", "see its log, and that it is Redis or Valkey")


def connect(access: Access, *, timeout: float = 5.0) -> Redis:
    """Return a client of the first candidate that answers.

    Args:
        access: Candidates and password.
        timeout: Seconds to wait for a connection and for each answer.

    Raises:
        BrokerUnavailable: No candidate answers; the message names each and its reason.
        BrokerRefused: A candidate answers but refuses the password.
    """
    failures: list[tuple[str, Exception]] = []
    for url in access.urls:
        try:
            return _open(url, access, timeout)
        except _failures() as error:
            failures.append((url, error))
    raise _none_of(failures)


def check_version(client: Redis) -> str:
    """Return the name and version of the server.

    Raises:
        BrokerTooOld: It is older than Redis 6.2 / Valkey 7.2.
    """
    info: dict[str, Any] = client.info("server")
    kind = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info["valkey_version" if kind == "Valkey" else "redis_version"])
    if not is_new_enough(kind, version):
        raise BrokerTooOld(
            f"the broker is {kind} {version}",
            remedy="use Redis 6.2 or newer, Valkey 7.2 or newer, or `batchpilot[broker]`",
        )
    return f"{kind} {version}"


def is_new_enough(kind: str, version: str) -> bool:
    """Tell whether a server's version reaches our floor.

    Example:
        >>> is_new_enough("Redis", "6.0.16")
        False
    """
    major, minor = (*version.split("."), "0")[:2]
    return (int(major), int(minor)) >= FLOORS[kind]


def broker_time(client: Redis) -> float:
    """Return the Unix time of the broker."""
    now: Any = client.time()
    return float(now[0]) + 1e-6 * float(now[1])


@contextmanager
def translated(access: Access) -> Iterator[None]:
    """Turn every failure of redis within the block into a BrokerError with a remedy."""
    try:
        yield
    except _failures() as error:
        raise translation(error, public_url(access)) from error


def translation(error: Exception, where: str) -> BrokerError:
    """Return what a failure of redis means for batchpilot."""
    kind, told, remedy = _verdict(error)
    return kind(f"broker at {where} {told.format(error)}", remedy=remedy, url=where)


def _verdict(error: Exception) -> _Verdict:
    from redis import exceptions as redis  # noqa: PLC0415 - slow; see the head of this file

    if isinstance(error, (redis.AuthenticationError, redis.AuthorizationError)):
        return _REFUSED
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _UNTRUSTED
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return _SILENT
    words = str(error).split(maxsplit=1)
    if "-OOM" in str(error):  # how a script of Redis 6.2 says it
        return _ANSWERS["OOM"]
    return _ANSWERS.get(words[0] if words else "", _verdict_by_type(error))


def _verdict_by_type(error: Exception) -> _Verdict:
    from redis import exceptions as redis  # noqa: PLC0415 - slow; see the head of this file

    by_type = {  # redis-py cuts the first word off where it has a class for it
        redis.OutOfMemoryError: "OOM",
        redis.ReadOnlyError: "READONLY",
        redis.NoPermissionError: "NOPERM",
    }
    return next((_ANSWERS[w] for kind, w in by_type.items() if isinstance(error, kind)), _STRANGE)


def _failures() -> tuple[type[Exception], ...]:
    """Return what redis raises; evaluated only once something was raised."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - slow; see the head of this file

    return (RedisError, OSError)


def _open(url: str, access: Access, timeout: float) -> Redis:
    from redis import Redis  # noqa: PLC0415 - slow; see the head of this file
    from redis.backoff import NoBackoff  # noqa: PLC0415 - as above
    from redis.retry import Retry  # noqa: PLC0415 - as above

    over_net = {"socket_connect_timeout": timeout, "socket_keepalive": True}
    options: dict[str, Any] = {} if url.startswith("unix:") else over_net
    if access.ca and url.startswith("rediss:"):
        options["ssl_ca_certs"] = access.ca
    client: Redis = Redis.from_url(
        url,
        username=access.username or None,
        password=access.password or None,
        socket_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **options,
    )
    try:
        client.ping()
    except BaseException:
        client.close()
        raise
    return client


def _none_of(failures: list[tuple[str, Exception]]) -> BrokerError:
    if not failures:
        return BrokerUnavailable(
            "the record of the broker names no address", remedy="run `batchpilot broker start`"
        )
    errors = [translation(error, without_secrets(url)) for url, error in failures]
    worst = next((e for e in errors if isinstance(e, BrokerRefused)), errors[-1])
    return type(worst)("; ".join(e.message for e in errors), remedy=worst.remedy, **worst.fields)
