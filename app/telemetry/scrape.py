"""Readings of another machine, from the pages for Prometheus that it shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from app.telemetry.cores import busy_percent
from app.telemetry.metrics_page import LIMIT_S, Headers, ScrapedPage, fetch_page, seconds_left
from app.telemetry.scrape_series import Kept, chosen_samples, named_series
from app.telemetry.scrape_words import ScrapeReadings, node_of
from loadgen.records import Tls
from loadgen.transport.address import address_of
from loadgen.transport.tls import tls_context

_MOST_PLACES = 66
_Readings = dict[str, dict[str, float | None]]


class Scraper:
    """One page, asked for again and again by one thread.

    A URL without a path means /metrics. Only samples that carry all of `labels` are read. The constructor raises
    EndpointError for a URL or files of TLS that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        source: str,
        interval_s: float = 1.0,
        labels: Mapping[str, str] | None = None,
        headers: Headers = (),
        tls: Tls | None = None,
        within_s: float = LIMIT_S,
        now: Callable[[], int] = time.perf_counter_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_s = interval_s
        self._address = address_of(url)
        self._context = tls_context(tls or Tls()) if self._address.is_tls else None
        self._path = "/metrics" if self._address.path == "/" else self._address.path
        self._source = source
        self._labels = dict(labels or {})
        self._headers = headers
        self._within_s = within_s
        self._now = now
        self._wall_ns = wall_ns
        self._kept = Kept()
        self._known: _Readings = {}
        self._node_cpu_s: tuple[float, float] | None = None

    def read(self, at_ns: int) -> tuple[tuple[str, dict[str, float | None]], ...]:
        """By source: what the page tells by its own names and by ours, at `<source>`, `<source>/host`, `<source>/gpu0`.

        Counters are told as they are. What was told before and is not told now is None; of a page that cannot be had,
        or holds nothing that was asked for, there is `scrape_ok` 0. Never raises; takes up to `within_s` and a name's
        look-up.
        """
        began_ns = self._wall_ns()
        left = seconds_left(time.monotonic() + self._within_s)
        page = fetch_page(self._address, self._context, left, self._path, self._headers)
        took_ms = (self._now() - at_ns) / 1e6
        middle_s = (began_ns + self._wall_ns()) / 2 / 1e9
        found = None if page is None else self._found(page, took_ms, middle_s)
        return self._with_what_is_missing({"": {"scrape_ok": 0.0}} if found is None else found)

    def _found(self, page: ScrapedPage, took_ms: float, middle_s: float) -> _Readings | None:
        chosen = chosen_samples(page.text, self._labels)
        if not chosen:
            return None
        node, words = node_of(chosen), ScrapeReadings()
        for sample in chosen:
            words.take(sample)
        found: _Readings = {place: dict(readings) for place, readings in words.readings.items()}
        if node.memory_gib is not None:
            found.setdefault("host", {})["host_memory_gib"] = node.memory_gib
        cpu_before_s, self._node_cpu_s = self._node_cpu_s, node.cpu_s
        if cpu_before_s is not None and node.cpu_s is not None:
            found.setdefault("host", {})["host_cpu_percent"] = busy_percent(cpu_before_s, node.cpu_s)
        clock_s = _seconds_of(page.date) if node.clock_s is None else node.clock_s
        found[""] = {
            **{name: one.value for name, one in named_series(chosen) if self._kept.takes(name, one)},
            **found.get("", {}),
            "scrape_ok": 1.0,
            "scrape_ms": took_ms,
            "scrape_clock_offset_s": None if clock_s is None else clock_s - middle_s,
        }
        return found

    def _with_what_is_missing(self, found: _Readings) -> tuple[tuple[str, dict[str, float | None]], ...]:
        for place, readings in found.items():
            if place in self._known or len(self._known) < _MOST_PLACES:
                self._known.setdefault(place, {}).update(dict.fromkeys(readings))
        return tuple(
            (f"{self._source}/{place}" if place else self._source, unknown | found.get(place, {}))
            for place, unknown in self._known.items()
        )


def _seconds_of(date: str | None) -> float | None:
    """Of the header Date, the middle of the second that it tells: right to half a second."""
    if date is None:
        return None
    try:
        told = parsedate_to_datetime(date)
        return (told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp() + 0.5
    except (ValueError, TypeError, OverflowError):  # a stranger's text
        return None
