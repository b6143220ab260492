"""A target's own counters, from the page for Prometheus that many inference servers show at /metrics.

The text format is that of prometheus.io/docs/instrumenting/exposition_formats. The page is a stranger's: it is bounded
in size and in time, what is no sample is passed over, and nothing of it is kept but numbers.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
import time
from collections.abc import Callable

import httptools

from app.records.telemetry import Samples
from loadgen.records import Endpoint
from loadgen.transport.address import Address, EndpointError, address_of
from loadgen.transport.tls import tls_context

_LIMIT_S = 2.0
_MOST_BYTES = 8 * 2**20
_BLOCK = 65_536
_SAMPLE = re.compile(r'([A-Za-z_:][\w:]*+)[ \t]*+(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*+")*+\})?+[ \t]*+(\S++)', re.ASCII)

Left = Callable[[], float]
"""Seconds that are left; raises TimeoutError when none are."""


def read_metrics(endpoint: Endpoint, within_s: float = _LIMIT_S) -> tuple[Samples | None, ...]:
    """Of each URL's server, asked one after the other within `within_s` in all; None where there is no such page.

    Only scheme, host and port of the URLs are used, and none of the endpoint's headers. A redirect is not followed.
    Nothing is asked through a Unix socket or a proxy. The look-up of a name takes as long as the system lets it.
    """
    if endpoint.unix_socket is not None or endpoint.proxy is not None:
        return ()
    left = _until(time.monotonic() + within_s)
    try:
        addresses = [address_of(url) for url in endpoint.urls]
        context = tls_context(endpoint.tls) if any(address.is_tls for address in addresses) else None
    except EndpointError:  # the worker tells of what is wrong with it
        return ()
    return tuple(_read(address, context if address.is_tls else None, left) for address in addresses)


def parse_metrics(page: str) -> Samples | None:
    """None where there is no sample in it. A last line without its end is cut off somewhere, and is left out."""
    totals: dict[str, float] = {}
    for line in page[: page.rfind("\n") + 1].split("\n"):
        found = _SAMPLE.match(line)
        value = None if found is None else _number(found[2])
        if found is not None and value is not None:
            totals[found[1]] = totals.get(found[1], 0.0) + value
    return Samples(totals) if totals else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _until(end_s: float) -> Left:
    def left() -> float:
        seconds = end_s - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    return left


def _read(address: Address, context: ssl.SSLContext | None, left: Left) -> Samples | None:
    try:
        connection = _connected(address, left)
        try:
            if context is not None:
                connection.settimeout(left())
                connection = context.wrap_socket(connection, server_hostname=address.host)
            page = _fetched(connection, address, left)
        finally:
            connection.close()
    except (OSError, ValueError, httptools.HttpParserError):  # not there, too slow, or not HTTP: then there is none
        return None
    return None if page is None else parse_metrics(page.decode(errors="replace"))


def _connected(address: Address, left: Left) -> socket.socket:
    """To the first of the host's addresses that answers. Raises OSError."""
    last: OSError = ConnectionError()
    for found in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(found[4][0]), address.port), timeout=left())
        except OSError as error:
            last = error
    raise last


def _fetched(connection: socket.socket, address: Address, left: Left) -> bytes | None:
    """The body of a 200, as far as it came before the server closed; None of anything else. Raises OSError."""
    request = f"GET /metrics HTTP/1.1\r\nHost: {address.authority}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
    connection.settimeout(left())
    connection.sendall(request.encode())
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
    return bytes(answer.body) if parser.get_status_code() == 200 else None


class _Answer:
    """What httptools tells of an answer, by the names that it wants."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_whole = False

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.is_whole = True
