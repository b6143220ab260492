"""One GET of a server's page for Prometheus, bounded in size and in time.

The text that a server shows for Prometheus, line by line:
prometheus.io/docs/instrumenting/exposition_formats.

It is a stranger's: what is no sample is passed over, and a page of any content costs no more than
its length.

A target's own counters, from the page for Prometheus that many inference servers show at /metrics.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httptools

from app.records.telemetry import Samples
from loadgen.records import Endpoint
from loadgen.transport.address import Address, EndpointError, address_of
from loadgen.transport.tls import tls_context

_SAMPLE = re.compile(r'([A-Za-z_:][\w:]*+)[ \t]*+(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?+[ \t]*+(\S++)', re.ASCII)
_LABEL = re.compile(r'[ \t]*+([A-Za-z_]\w*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"[ \t]*+(?:,|$)', re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n"}


class Sample(NamedTuple):
    """`labels_text` is what stands between the braces."""

    name: str
    labels_text: str
    value: float

    def labels(self) -> dict[str, str]:
        """As far as they are what labels should be."""
        labels, position = {}, 0
        while (found := _LABEL.match(self.labels_text, position)) is not None:
            labels[found[1]] = _ESCAPED.sub(lambda escape: _UNESCAPED.get(escape[1], escape[1]), found[2])
            position = found.end()
        return labels


def samples(page: str) -> Iterator[Sample]:
    """Those with a finite value. A last line without its end is cut off somewhere, and is left out."""
    for line in page[: page.rfind("\n") + 1].split("\n"):
        found = _SAMPLE.match(line)
        value = None if found is None else _number(found[3])
        if found is not None and value is not None:
            yield Sample(found[1], found[2] or "", value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


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


def read_metrics(endpoint: Endpoint, within_s: float = LIMIT_S) -> tuple[Samples | None, ...]:
    """Of each URL's server, asked one after the other within `within_s` in all; None where there is no such page.

    Only scheme, host and port of the URLs are used, and none of the endpoint's headers. Nothing is asked through a
    Unix socket or a proxy.
    """
    if endpoint.unix_socket is not None or endpoint.proxy is not None:
        return ()
    left = seconds_left(time.monotonic() + within_s)
    try:
        addresses = [address_of(url) for url in endpoint.urls]
        context = tls_context(endpoint.tls) if any(address.is_tls for address in addresses) else None
    except EndpointError:  # the worker tells of what is wrong with it
        return ()
    pages = [fetch_page(address, context if address.is_tls else None, left) for address in addresses]
    return tuple(None if page is None else parse_metrics(page.text) for page in pages)


def parse_metrics(page: str) -> Samples | None:
    """None where there is no sample in it."""
    totals: dict[str, float] = {}
    for sample in samples(page):
        totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return Samples(totals) if totals else None
