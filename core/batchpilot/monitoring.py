"""Settings of metrics and logs, and their way from a configuration file or the command line.

The command line of `coordinator run`, of the supervisor and of the coordinator have the same
options, and hand them on to each other as they were given. The token itself never stands there,
only the name of its file.
"""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchpilot_broker.errors import StorageError
from batchpilot_broker.files import read_json
from batchpilot_broker.journal import LogFormat
from batchpilot_broker.paths import RegistryPaths

from .errors import DefinitionError


ANY_PORT = "127.0.0.1:0"
OPTIONS = ("listen", "token_file", "certificate", "key")
_REMEDY = "write host:port, for example 127.0.0.1:9464 or 0.0.0.0:9464"
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Say where and to whom metrics are shown.

    Attributes:
        listen: Address "host:port"; port 0 is any free one.
        token_file: File of the bearer token that a scrape must carry, "" for none.
        certificate: PEM file of the certificate for HTTPS, "" for HTTP.
        key: PEM file of its key, "" where the certificate's file holds it.
    """

    listen: str = ANY_PORT
    token_file: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def token(self) -> bytes:
        """Return the bearer token, b"" for none.

        Raises:
            DefinitionError: Its file cannot be read, is empty, or anybody may read it.
        """
        if not self.token_file:
            return b""
        path = Path(self.token_file)
        try:
            open_to_all = path.stat().st_mode & 0o004
            token = path.read_bytes().strip()
        except OSError as error:
            raise DefinitionError(
                f"the token file {path} cannot be read: {error.strerror}",
                remedy="correct [metrics] token_file",
            ) from error
        if open_to_all or not token:
            what = "may be read by everybody" if open_to_all else "is empty"
            raise DefinitionError(
                f"the token file {path} {what}", remedy="write a token into a file of mode 0600"
            )
        return token

    def tls(self) -> ssl.SSLContext | None:
        """Return what HTTPS needs, None for HTTP.

        Raises:
            DefinitionError: Certificate and key cannot be used.
        """
        if not self.certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key or None)
        except OSError as error:
            raise DefinitionError(
                f"the certificate {self.certificate} cannot be used: {error}",
                remedy="name PEM files in [metrics] certificate and key",
            ) from error
        return context


def registry_id(paths: RegistryPaths) -> str:
    """Return a registry's id for its programs' logs, "" where it is missing or damaged."""
    try:
        return str((read_json(paths.owner) or {}).get("id", ""))
    except StorageError:
        return ""  # whoever begins to work there will say so, in these logs


def checked_metrics(table: Mapping[str, Any]) -> MetricsSettings:
    """Return the settings that a table says; relative files are those of the working directory.

    Raises:
        DefinitionError: They make no sense, or name files that cannot be used.
    """
    unknown = [f"metrics.{name}" for name in table if name not in OPTIONS]
    if unknown or not all(isinstance(value, str) for value in table.values()):
        known = ", ".join(f"metrics.{name}" for name in OPTIONS)
        raise DefinitionError(
            f"unknown or no strings: {', '.join(unknown or table)}", remedy=f"known are {known}"
        )
    files = {name: _absolute(table[name]) for name in OPTIONS[1:] if table.get(name)}
    settings = MetricsSettings(listen=table.get("listen", ANY_PORT), **files)
    _check_address(settings.listen)
    if settings.key and not settings.certificate:
        raise DefinitionError(
            "metrics.key without metrics.certificate", remedy="name the certificate, too"
        )
    settings.token()
    settings.tls()
    return settings


def checked_log_format(value: Any) -> str:
    """Return a format of logs.

    Raises:
        DefinitionError: There is no such format.
    """
    if value not in tuple(LogFormat):
        raise DefinitionError(
            f"logs.format={value!r} is no format", remedy=f"use one of {', '.join(LogFormat)}"
        )
    return str(value)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of supervisor and coordinator."""
    for name in OPTIONS:
        parser.add_argument(f"--metrics-{name.replace('_', '-')}", default="")
    parser.add_argument("--log-format", choices=list(LogFormat), default="")


def checked_options(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that were given, with absolute names of files.

    Raises:
        DefinitionError: They make no sense, or name files that cannot be used.
    """
    said = {name: str(value) for name, value in given.items() if value}
    table = {name: said[f"metrics_{name}"] for name in OPTIONS if f"metrics_{name}" in said}
    settings = checked_metrics(table)
    return {**said, **{f"metrics_{name}": getattr(settings, name) for name in table}}


def log_format_in(words: Sequence[str]) -> str:
    """Return the format of logs that words for a coordinator ask for, "" for none."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    return str(parser.parse_known_args(list(words))[0].log_format)


def words_of(given: Mapping[str, Any]) -> list[str]:
    """Return the options that were given as words of a command line.

    Example:
        >>> words_of({"metrics_listen": "0.0.0.0:9464", "metrics_key": "", "log_format": None})
        ['--metrics-listen', '0.0.0.0:9464']
    """
    names = (*(f"metrics_{name}" for name in OPTIONS), "log_format")
    pairs = [(f"--{name.replace('_', '-')}", given.get(name)) for name in names]
    return [word for option, value in pairs if value for word in (option, str(value))]


def chosen(given: Mapping[str, Any], kept: Mapping[str, Any]) -> MetricsSettings:
    """Return the settings of a command line, and for the rest those that the registry keeps."""
    said = {name: given.get(f"metrics_{name}") for name in OPTIONS}
    return replace(MetricsSettings(**kept), **{name: v for name, v in said.items() if v})


def _check_address(listen: str) -> None:
    host, _, port = listen.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= _HIGHEST_PORT):
        raise DefinitionError(f"{listen!r} is no address", remedy=_REMEDY)


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute())
