"""A broker that the user names: an address without secrets, and a password from a file.

`rediss://` brokers are believed only with a certificate that the system trusts, or one signed by
the CA whose file BATCHPILOT_BROKER_CA names; every host that uses the broker must see that file.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .access import Access, without_secrets
from .errors import BrokerRefused, BrokerUnavailable
from .host import boot_id, host_name


SCHEMES = ("redis", "rediss", "unix")

_FILE = "put the password into a 0600 file and name that in BATCHPILOT_BROKER_PASSWORD_FILE"


def external_access(url: str, recorded: Access | None) -> Access:
    """Return the access to a broker that the user names.

    Args:
        url: Its address; a user may stand in it, a password may not.
        recorded: The registry's record: its generation, and its account for the same broker.

    Raises:
        BrokerUnavailable: The address is none.
        BrokerRefused: There is no password for it, or it stands in the address.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise BrokerUnavailable(
            f"{without_secrets(url)} is no address of a broker",
            remedy="write redis://host:port/0, rediss://host:port/0 or unix:///path/of/socket",
        )
    if parts.password or "password=" in parts.query:
        raise BrokerRefused(
            f"the address of the broker {without_secrets(url)} carries its password",
            remedy=_FILE,
        )
    netloc = parts.netloc.rpartition("@")[2]
    bare = urlunsplit(parts._replace(netloc=netloc)) if netloc else f"unix://{parts.path}"
    if parts.query and not netloc:
        bare += f"?{parts.query}"
    return Access(
        urls=(bare,),
        username=parts.username or _username(bare, recorded),
        password=_password(bare, recorded),
        generation=recorded.generation if recorded else 0,
        host=host_name(),
        boot=boot_id(),
        external=True,
        ca=_ca(bare, recorded),
    )


def _ca(url: str, recorded: Access | None) -> str:
    named = os.environ.get("BATCHPILOT_BROKER_CA")
    if named:
        return str(_readable_ca(Path(named).expanduser().absolute()))
    return recorded.ca if recorded and recorded.external and recorded.urls == (url,) else ""


def _readable_ca(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise BrokerRefused(
            f"the file of the broker's CA {path} cannot be read",
            remedy="correct BATCHPILOT_BROKER_CA",
        )
    return path


def _username(url: str, recorded: Access | None) -> str:
    named = os.environ.get("BATCHPILOT_BROKER_PASSWORD_FILE")
    known = recorded is not None and recorded.external and recorded.urls == (url,)
    return recorded.username if recorded and known and not named else ""


def _password(url: str, recorded: Access | None) -> str:
    named = os.environ.get("BATCHPILOT_BROKER_PASSWORD_FILE")
    if named:
        return _read_password(Path(named))
    if recorded and recorded.external and recorded.urls == (url,):
        return recorded.password
    raise BrokerRefused(
        f"there is no password for the broker {without_secrets(url)}",
        remedy=_FILE,
    )


def _read_password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise BrokerRefused(
            f"the password file {path} cannot be read: {error}",
            remedy="correct BATCHPILOT_BROKER_PASSWORD_FILE",
        ) from error
    if not password:
        raise BrokerRefused(
            f"the password file {path} is empty",
            remedy="write the broker's password into it; batchpilot uses no broker without one",
        )
    return password
