"""A target's own counters, from the page for Prometheus that many inference servers show at /metrics."""

from __future__ import annotations

import time

from app.records.telemetry import Samples
from app.telemetry.metrics_page import LIMIT_S, fetch_page, seconds_left
from app.telemetry.prometheus_text import samples
from loadgen.records import Endpoint
from loadgen.transport.address import EndpointError, address_of
from loadgen.transport.tls import tls_context


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
