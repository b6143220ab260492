"""One GET of a server's page for Prometheus, bounded in size and in time."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple

import httptools

from loadgen.transport.address import Address

LIMIT_S = 2.0
_MOST_BYTES = 8 * 2**20
_BLOCK = 65_536

Headers = tuple[tuple[str, str], ...]
Left = Callable[[], float]
"""Seconds that are left; raises TimeoutError when none are."""


class ScrapedPage(NamedTuple):
    """`date` is the server's own word of when it answered."""

    text: str
    date: str | None


def seconds_left(end_s: float) -> Left:
    """Until a moment of `time.monotonic`."""

    def left() -> float:
        seconds = end_s - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    return left


def fetch_page(
    address: Address, context: ssl.SSLContext | None, left: Left, path: str = "/metrics", headers: Headers = ()
) -> ScrapedPage | None:
    """The body of a 200, whole; None of anything else. A redirect is not followed.

    The look-up of a name takes as long as the system lets it.
    """
    try:
        connection = _connected(address, left)
        try:
            if context is not None:
                connection.settimeout(left())
                connection = context.wrap_socket(connection, server_hostname=address.host)
            return _fetched(connection, _request(address, path, headers), left)
        finally:
            connection.close()
    except (OSError, ValueError, httptools.HttpParserError):  # not there, too slow, or not HTTP: then there is none
        return None


def _connected(address: Address, left: Left) -> socket.socket:
    """To the first of the host's addresses that answers. Raises OSError."""
    last: OSError = ConnectionError()
    for found in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(found[4][0]), address.port), timeout=left())
        except OSError as error:
            last = error
    raise last


def _request(address: Address, path: str, headers: Headers) -> bytes:
    own = (("Host", address.authority), ("Accept", "text/plain"), ("Connection", "close"))
    theirs = {name.casefold() for name, _ in headers}
    lines = [f"{name}: {value}" for name, value in own if name.casefold() not in theirs]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def _fetched(connection: socket.socket, request: bytes, left: Left) -> ScrapedPage | None:
    connection.settimeout(left())
    connection.sendall(request)
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    received = 0
    while not answer.is_whole:
        connection.settimeout(left())
        block = connection.recv(_BLOCK)
        if not block:
            break
        received += len(block)
        if received > _MOST_BYTES:
            return None
        parser.feed_data(block)
    if parser.get_status_code() != 200 or not (answer.is_whole or answer.ends_with_connection):
        return None
    return ScrapedPage(answer.body.decode(errors="replace"), answer.date)


class _Answer:
    """What httptools tells of an answer, by the names that it wants."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.date: str | None = None
        self.is_whole = False
        self.ends_with_connection = True

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower()
        if key == b"date":
            self.date = value.decode("latin-1")
        elif key in (b"content-length", b"transfer-encoding"):
            self.ends_with_connection = False

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.is_whole = True
