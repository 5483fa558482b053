"""Serve /metrics, /healthz and /readyz: few threads, short patience, GET only.

A bearer token, where one is set, is asked for `/metrics` alone: probes of a platform carry none,
and what they are told is no secret.
"""

from __future__ import annotations

import hmac
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


MOST_AT_ONCE = 8
PATIENCE = 10.0

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Page:
    """Hold an answer."""

    status: int
    body: bytes
    type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Hold what is served.

    Attributes:
        pages: What makes the answer to a path.
        guarded: The paths that ask for the token.
        token: The token, b"" for none.
    """

    pages: dict[str, Callable[[], Page]]
    guarded: frozenset[str] = frozenset()
    token: bytes = b""

    def answer(self, path: str, authorization: str) -> Page:
        """Return the answer to a request."""
        page = self.pages.get(path)
        if page is None:
            known = ", ".join(self.pages)
            return Page(404, f"there are {known}\n".encode())
        if self.token and path in self.guarded and not self._admits(authorization):
            return Page(401, b"a bearer token is asked for\n")
        return page()

    def _admits(self, authorization: str) -> bool:
        """Compare digests, so that the time taken tells neither contents nor length."""
        scheme, _, given = authorization.partition(" ")
        offered = sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        same = hmac.compare_digest(offered, sha256(self.token).digest())
        return same and scheme.lower() == "bearer"


class _Handler(BaseHTTPRequestHandler):
    """Answer one GET."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: MetricsServer

    def do_GET(self) -> None:
        """Answer, and close."""
        path = self.path.partition("?")[0]
        page = self.server.site.answer(path, self.headers.get("Authorization", ""))
        self.send_response(page.status)
        self.send_header("Content-Type", page.type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Connection", "close")
        if page.status == 401:  # noqa: PLR2004 - the number of HTTP
            self.send_header("WWW-Authenticate", 'Bearer realm="batchpilot"')
        self.end_headers()
        self.wfile.write(page.body)

    def version_string(self) -> str:
        """Return what the header Server says."""
        return "batchpilot"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
        """Say nothing: a scrape is no event."""


class MetricsServer(ThreadingHTTPServer):
    """Serve a site in a thread of its own.

    Args:
        host: Address to listen at.
        port: Port, 0 for any.
        site: What is served.
        tls: Certificate and key, None for plain HTTP.

    Raises:
        OSError: The address is not to be had.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, host: str, port: int, site: Site, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.site = site
        self._tls = tls
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__((host, port), _Handler)

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self.shutdown()
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; a handshake is left to the thread that will answer."""
        connection, address = super().get_request()
        connection.settimeout(PATIENCE)
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or refuse where there are too many already."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        if self._tls is None:
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away or spoke no TLS."""
