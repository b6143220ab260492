"""Fetches and parses the metrics page of a server in the Prometheus text format
(prometheus.io/docs/instrumenting/exposition_formats). Many inference servers expose metrics at
/metrics.

The size of a page and the time of a request are limited. The page is untrusted: lines that are not
samples are skipped, and parsing takes linear time for any content."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request

from app.records.telemetry import Samples
from loadgen.records import Endpoint
from loadgen.transport.address import Address, EndpointError, parse_url
from loadgen.transport.opener import Opener, RemainingTime, limit_time, read_body

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

Headers = tuple[tuple[str, str], ...]


class ScrapedPage(NamedTuple):
    """A fetched metrics page. `date` is the value of the Date header; None if the header is
    missing."""

    text: str
    date: str | None


def fetch_page(
    opener: Opener, address: Address, get_remaining_s: RemainingTime, path: str = "/metrics", headers: Headers = ()
) -> ScrapedPage | None:
    """Fetch a metrics page. Return None unless the response is complete and has status 200.

    The time limit does not apply to the DNS lookup."""
    request = Request(address.format_url("") + quote(path, safe=string.punctuation), headers={"Accept": "text/plain"})
    for name, value in headers:
        request.add_header(name, value.encode().decode("latin-1"))
    try:
        with opener.open(request, get_remaining_s) as response:
            body = read_body(response, _MAX_PAGE_BYTES) if response.status == HTTPStatus.OK else None
            return None if body is None else ScrapedPage(body.decode(errors="replace"), response.headers["Date"])
    except HTTPError as error:
        error.close()
    except (OSError, ValueError, HTTPException):  # not reachable, too slow, or not HTTP
        pass
    return None


def read_metrics(endpoint: Endpoint, timeout_s: float = TIMEOUT_S) -> tuple[Samples | None, ...]:
    """Fetch /metrics from the server of each URL, one after another, within `timeout_s` in total.
    Return one entry per URL; None for a server without metrics.

    Only the scheme, host and port of each URL are used, and none of the endpoint's headers are
    sent. The result is empty for an endpoint with a Unix socket or a proxy."""
    if endpoint.unix_socket is not None or endpoint.proxy is not None:
        return ()
    get_remaining_s = limit_time(timeout_s)
    try:
        addresses = [parse_url(url) for url in endpoint.urls]
        opener = Opener(endpoint.urls, endpoint.tls, lambda _: None)
    except EndpointError:  # the worker reports the error
        return ()
    pages = [fetch_page(opener, address, get_remaining_s) for address in addresses]
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
