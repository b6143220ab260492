"""Fetches and parses the metrics page of a server in the Prometheus text format
(prometheus.io/docs/instrumenting/exposition_formats). Many inference servers expose metrics at
/metrics.

The size of a page and the time of a request are limited. The page is untrusted: lines that are not
samples are skipped, and parsing takes linear time for any content."""

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
from loadgen.transport.address import Address, EndpointError, parse_url
from loadgen.transport.tls import build_tls_context

_SAMPLE_PATTERN = re.compile(
    r'([A-Za-z_:][\w:]*+)[ \t]*+(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?+[ \t]*+(\S++)', re.ASCII
)
_LABEL_PATTERN = re.compile(r'[ \t]*+([A-Za-z_]\w*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"[ \t]*+(?:,|$)', re.ASCII)
_ESCAPE_PATTERN = re.compile(r"\\(.)")
_ESCAPE_CHARACTERS = {"n": "\n"}


class Sample(NamedTuple):
    """A sample of a metrics page: metric name, labels and value. `labels_text` is the unparsed text
    between the braces."""

    name: str
    labels_text: str
    value: float

    def parse_labels(self) -> dict[str, str]:
        """Return the labels by name, up to the first invalid label."""
        labels, position = {}, 0
        while (match := _LABEL_PATTERN.match(self.labels_text, position)) is not None:
            labels[match[1]] = _ESCAPE_PATTERN.sub(
                lambda escape: _ESCAPE_CHARACTERS.get(escape[1], escape[1]), match[2]
            )
            position = match.end()
        return labels


def parse_samples(page: str) -> Iterator[Sample]:
    """Yield the samples of a metrics page whose value is finite. A last line without a line break
    is skipped, because it may be truncated."""
    for line in page[: page.rfind("\n") + 1].split("\n"):
        match = _SAMPLE_PATTERN.match(line)
        value = None if match is None else _parse_finite(match[3])
        if match is not None and value is not None:
            yield Sample(match[1], match[2] or "", value)


def _parse_finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


TIMEOUT_S = 2.0
_MAX_PAGE_BYTES = 8 * 2**20
_BLOCK_BYTES = 65_536

Headers = tuple[tuple[str, str], ...]
RemainingTime = Callable[[], float]
"""Function that returns the time in seconds until a deadline, and raises TimeoutError after the
deadline."""


class ScrapedPage(NamedTuple):
    """A fetched metrics page. `date` is the value of the Date header; None if the header is
    missing."""

    text: str
    date: str | None


def make_deadline(end_s: float) -> RemainingTime:
    """Return a function that returns the remaining time in s until `end_s` on the clock of
    `time.monotonic`, and raises TimeoutError afterwards."""

    def get_remaining_s() -> float:
        seconds = end_s - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    return get_remaining_s


def fetch_page(
    address: Address,
    context: ssl.SSLContext | None,
    get_remaining_s: RemainingTime,
    path: str = "/metrics",
    headers: Headers = (),
) -> ScrapedPage | None:
    """Fetch a metrics page. Return None unless the response is complete and has status 200.
    Redirects are not followed.

    The time limit does not apply to the DNS lookup."""
    try:
        connection = _connect(address, get_remaining_s)
        try:
            if context is not None:
                connection.settimeout(get_remaining_s())
                connection = context.wrap_socket(connection, server_hostname=address.host)
            return _exchange(connection, _build_request(address, path, headers), get_remaining_s)
        finally:
            connection.close()
    except (
        OSError,
        ValueError,
        httptools.HttpParserError,
    ):  # not reachable, too slow, or not HTTP
        return None


def _connect(address: Address, get_remaining_s: RemainingTime) -> socket.socket:
    """Connect to the first IP address of the host that accepts a connection. Raises OSError if no
    address does."""
    last_error: OSError = ConnectionError()
    for address_info in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(address_info[4][0]), address.port), timeout=get_remaining_s())
        except OSError as error:
            last_error = error
    raise last_error


def _build_request(address: Address, path: str, headers: Headers) -> bytes:
    default_headers = (("Host", address.authority), ("Accept", "text/plain"), ("Connection", "close"))
    custom_names = {name.casefold() for name, _ in headers}
    lines = [f"{name}: {value}" for name, value in default_headers if name.casefold() not in custom_names]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def _exchange(connection: socket.socket, request: bytes, get_remaining_s: RemainingTime) -> ScrapedPage | None:
    connection.settimeout(get_remaining_s())
    connection.sendall(request)
    response = _ResponseHandler()
    parser = httptools.HttpResponseParser(response)
    received_bytes = 0
    while not response.is_complete:
        connection.settimeout(get_remaining_s())
        block = connection.recv(_BLOCK_BYTES)
        if not block:
            break
        received_bytes += len(block)
        if received_bytes > _MAX_PAGE_BYTES:
            return None
        parser.feed_data(block)
    if parser.get_status_code() != 200 or not (response.is_complete or response.ends_with_connection):
        return None
    return ScrapedPage(response.body.decode(errors="replace"), response.date)


class _ResponseHandler:
    """Callbacks for an httptools parser that collect the body and the Date header of a response."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.date: str | None = None
        self.is_complete = False
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
        self.is_complete = True


def read_metrics(endpoint: Endpoint, timeout_s: float = TIMEOUT_S) -> tuple[Samples | None, ...]:
    """Fetch /metrics from the server of each URL, one after another, within `timeout_s` in total.
    Return one entry per URL; None for a server without metrics.

    Only the scheme, host and port of each URL are used, and none of the endpoint's headers are
    sent. The result is empty for an endpoint with a Unix socket or a proxy."""
    if endpoint.unix_socket is not None or endpoint.proxy is not None:
        return ()
    get_remaining_s = make_deadline(time.monotonic() + timeout_s)
    try:
        addresses = [parse_url(url) for url in endpoint.urls]
        context = build_tls_context(endpoint.tls) if any(address.is_tls for address in addresses) else None
    except EndpointError:  # the worker reports the error
        return ()
    pages = [fetch_page(address, context if address.is_tls else None, get_remaining_s) for address in addresses]
    return tuple(None if page is None else parse_metrics(page.text) for page in pages)


def parse_metrics(page: str) -> Samples | None:
    """Parse a metrics page, and return the sum of each metric over all label values, and the
    buckets of the histograms; None if the page has no samples."""
    totals: dict[str, float] = {}
    buckets: dict[str, dict[float, float]] = {}
    counters: dict[str, float] = {}
    start_times_s: dict[str, float] = {}
    counter_names = _list_counter_names(page)
    for sample in parse_samples(page):
        if not sample.name.endswith("_bucket"):
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
            series = f"{sample.name}{{{sample.labels_text}}}"
            if sample.name in counter_names:
                counters[series] = sample.value
            elif sample.name == _START_TIME or sample.name.endswith(_CREATION_TIME_SUFFIX):
                start_times_s[series] = sample.value
        elif len(buckets) < _MAX_HISTOGRAMS or sample.name in buckets:
            counts = buckets.setdefault(sample.name, {})
            bound = _parse_bound(sample)
            if bound is not None and (bound in counts or len(counts) < _MAX_BUCKETS):
                counts[bound] = counts.get(bound, 0.0) + sample.value
    return Samples(totals, buckets, counters, start_times_s) if totals else None


_MAX_HISTOGRAMS = 200
_MAX_BUCKETS = 200
_START_TIME = "process_start_time_seconds"
_CREATION_TIME_SUFFIX = "_created"
"""Suffix of the gauges in which client libraries state when each counter was created."""
_TYPE_PATTERN = re.compile(
    r"^# TYPE ([A-Za-z_:][\w:]*+) (counter|histogram|summary)[ \t\r]*+$", re.ASCII | re.MULTILINE
)


def _list_counter_names(page: str) -> frozenset[str]:
    """Return the names of the cumulative series that a metrics page declares. Before OpenMetrics, a
    counter is declared with its suffix `_total`, and since then without."""
    names: set[str] = set()
    for name, metric_type in _TYPE_PATTERN.findall(page):
        names.update((name, f"{name}_total") if metric_type == "counter" else (f"{name}_sum", f"{name}_count"))
    return frozenset(names)


def _parse_bound(sample: Sample) -> float | None:
    """Return the upper bound of a bucket; None if it is infinite or invalid."""
    return _parse_finite(sample.parse_labels().get("le", ""))
